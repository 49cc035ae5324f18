//! Which families of sockets a cage may make: a second filter of system calls, in the kernel's own
//! language, that the cage's init puts on before it becomes crun.
//!
//! A network namespace holds back neither packet sockets' code, nor AF_ALG, nor AF_VSOCK, which
//! reaches the hypervisor. The family is the first argument of `socket`, but programs of 32 bits
//! on x86 (and whoever wants to on ppc64le) may use `socketcall`, which keeps it in memory where
//! no filter checks them: making a socket is refused there, whatever its family. libseccomp, which
//! crun uses, would allow that call along with `socket`, hence a filter of our own. The kernel asks
//! both, and the stricter answer holds.

use std::io;

use nix::libc::{
    AF_ALG, AF_PACKET, AF_VSOCK, EAFNOSUPPORT, EPERM, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    sock_filter,
};
use rpmfarm_core::{Allowance, Allowed};

/// The highest address family that is allowed: netlink. Above are packet sockets, AF_ALG,
/// AF_VSOCK and the kernel's rarely used protocols.
const MAX_FAMILY: u32 = 16;

/// Offsets in `struct seccomp_data` (linux/seccomp.h): number, architecture, and the lower half of
/// the first argument, on little-endian machines, which all of ours are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// The operation of `socketcall` that makes a socket (linux/net.h).
const SYS_SOCKET: u32 = 1;

/// How an architecture makes sockets: its number in linux/audit.h, that of `socket`, and that of
/// `socketcall` where it has one.
struct Abi {
    audit: u32,
    socket: &'static [u32],
    socketcall: Option<u32>,
}

/// All that run on the hosts of workers. x32 has the audit number of x86_64 and a bit in its calls'
/// numbers.
const ABIS: &[Abi] = &[
    Abi { audit: 0xC000_003E, socket: &[41, 0x4000_0000 + 41], socketcall: None }, // x86_64, x32
    Abi { audit: 0x4000_0003, socket: &[359], socketcall: Some(102) },             // i386
    Abi { audit: 0xC000_00B7, socket: &[198], socketcall: None },                  // aarch64
    Abi { audit: 0x4000_0028, socket: &[281], socketcall: Some(102) },             // arm
    Abi { audit: 0xC000_0015, socket: &[326], socketcall: Some(102) },             // ppc64le
];

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_JMP | BPF_JGT | BPF_K` and
/// `BPF_RET | BPF_K` of linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

const fn refuse(errno: i32) -> sock_filter {
    step(RETURN, SECCOMP_RET_ERRNO | errno.cast_unsigned(), 0, 0)
}

fn program(allow: &Allowed) -> Vec<sock_filter> {
    let families = families(allow);
    let old = old_calls(allow.contains(&Allowance::SocketsOf32Bits));
    let mut program = Vec::new();
    for abi in ABIS {
        let mut own = vec![step(LOAD, NUMBER, 0, 0)];
        for number in abi.socket {
            own.push(step(JUMP_EQUAL, *number, 0, length(&families)));
            own.extend(families.iter().copied());
        }
        if let Some(number) = abi.socketcall {
            own.push(step(JUMP_EQUAL, number, 0, length(&old)));
            own.extend(old.iter().copied());
        }
        own.push(step(RETURN, SECCOMP_RET_ALLOW, 0, 0));
        program.push(step(LOAD, ARCHITECTURE, 0, 0));
        program.push(step(JUMP_EQUAL, abi.audit, 0, length(&own)));
        program.extend(own);
    }
    // Others are crun's filter's to refuse.
    program.push(step(RETURN, SECCOMP_RET_ALLOW, 0, 0));
    program
}

/// The steps that answer `socket` by its family.
fn families(allow: &Allowed) -> Vec<sock_filter> {
    let mut steps = vec![step(LOAD, FIRST_ARGUMENT, 0, 0)];
    for (allowance, family) in [(Allowance::CryptoSockets, AF_ALG), (Allowance::Vsock, AF_VSOCK)] {
        if allow.contains(&allowance) {
            steps.push(step(JUMP_EQUAL, family.cast_unsigned(), 0, 1));
            steps.push(step(RETURN, SECCOMP_RET_ALLOW, 0, 0));
        }
    }
    // What a kernel says to who is not privileged.
    steps.push(step(JUMP_EQUAL, AF_PACKET.cast_unsigned(), 0, 1));
    steps.push(refuse(EPERM));
    steps.push(step(JUMP_GREATER, MAX_FAMILY, 0, 1));
    steps.push(refuse(EAFNOSUPPORT));
    steps.push(step(RETURN, SECCOMP_RET_ALLOW, 0, 0));
    steps
}

/// The steps that answer `socketcall` by what it is to do.
fn old_calls(open: bool) -> Vec<sock_filter> {
    let mut steps = Vec::new();
    if !open {
        steps.push(step(LOAD, FIRST_ARGUMENT, 0, 0));
        steps.push(step(JUMP_EQUAL, SYS_SOCKET, 0, 1));
        steps.push(refuse(EAFNOSUPPORT));
    }
    steps.push(step(RETURN, SECCOMP_RET_ALLOW, 0, 0));
    steps
}

/// How far a jump over these steps goes.
fn length(steps: &[sock_filter]) -> u8 {
    u8::try_from(steps.len()).expect("no part of the filter has more than 255 steps")
}

/// Puts the filter on this process and all that come from it. For who may make namespaces.
///
/// # Errors
/// When the kernel has no filters.
pub(super) fn install(allow: &Allowed) -> io::Result<()> {
    use nix::libc::{PR_SET_SECCOMP, SECCOMP_MODE_FILTER, prctl, sock_fprog};
    let mut program = program(allow);
    let length = u16::try_from(program.len()).expect("the filter is short");
    let filter = sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives until the call is over, and reads no more
    // than its length.
    #[allow(unsafe_code)]
    let done = unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const filter) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel makes of a program: the few instructions that we use.
    fn run(program: &[sock_filter], arch: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    word = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => arch,
                        FIRST_ARGUMENT => argument,
                        other => panic!("offset {other}"),
                    }
                }
                JUMP_EQUAL => at += jump(word == step.k),
                JUMP_GREATER => at += jump(word > step.k),
                RETURN => return step.k,
                other => panic!("code {other}"),
            }
        }
    }

    const X86_64: u32 = 0xC000_003E;
    const I386: u32 = 0x4000_0003;
    const UNIX: u32 = 1;
    const ALG: u32 = 38;
    const VSOCK: u32 = 40;

    fn errno(number: i32) -> u32 {
        SECCOMP_RET_ERRNO | number.cast_unsigned()
    }

    #[test]
    fn a_family_has_the_same_answer_by_every_way() {
        let program = program(&Allowed::new());
        for abi in ABIS {
            for number in abi.socket {
                let ask = |family| run(&program, abi.audit, *number, family);
                assert_eq!(ask(UNIX), SECCOMP_RET_ALLOW);
                assert_eq!(ask(16), SECCOMP_RET_ALLOW);
                assert_eq!(ask(17), errno(EPERM));
                for family in [18, ALG, VSOCK, u32::MAX] {
                    assert_eq!(ask(family), errno(EAFNOSUPPORT), "{family}");
                }
            }
            // A descriptor that is not a socket.
            assert_eq!(run(&program, abi.audit, 0, VSOCK), SECCOMP_RET_ALLOW);
        }
        // Whatever its family, which cannot be seen.
        assert_eq!(run(&program, I386, 102, SYS_SOCKET), errno(EAFNOSUPPORT));
        assert_eq!(run(&program, I386, 102, 2), SECCOMP_RET_ALLOW);
        // The number that is `socketcall` there makes a user id here.
        assert_eq!(run(&program, X86_64, 102, SYS_SOCKET), SECCOMP_RET_ALLOW);
    }

    #[test]
    fn an_allowance_opens_its_family() {
        let with = |allowance| program(&[allowance].into());
        let alg = with(Allowance::CryptoSockets);
        assert_eq!(run(&alg, X86_64, 41, ALG), SECCOMP_RET_ALLOW);
        assert_eq!(run(&alg, X86_64, 41, VSOCK), errno(EAFNOSUPPORT));
        let vsock = with(Allowance::Vsock);
        assert_eq!(run(&vsock, I386, 359, VSOCK), SECCOMP_RET_ALLOW);
        assert_eq!(run(&vsock, I386, 359, ALG), errno(EAFNOSUPPORT));
        let old = with(Allowance::SocketsOf32Bits);
        assert_eq!(run(&old, I386, 102, SYS_SOCKET), SECCOMP_RET_ALLOW);
        assert_eq!(run(&old, X86_64, 41, VSOCK), errno(EAFNOSUPPORT));
    }
}
