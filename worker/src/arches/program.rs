//! The smallest program of each architecture: it ends with one exit status, and does nothing else.
//! Sources of the numbers: the ELF specification and the kernel's tables of system calls. Pure.

use rpmfarm_core::Arch;

/// The status with which the program ends.
pub(super) const STATUS: u8 = 42;

/// Where it is loaded: a multiple of 64 KiB, the largest page of any of the architectures.
const BASE: u64 = 0x40_0000;
/// Lengths of the two headers before the code.
const ELF_HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;

pub(super) fn file(arch: Arch) -> Vec<u8> {
    let (machine, flags, code) = match arch {
        // mov $60, %eax; mov $42, %edi; syscall
        Arch::X86_64 => (62_u16, 0_u32, vec![0xb8, 60, 0, 0, 0, 0xbf, STATUS, 0, 0, 0, 0x0f, 0x05]),
        // mov x0, #42; mov x8, #93; svc #0
        Arch::Aarch64 => {
            (183, 0, words([0xd280_0000 | u32::from(STATUS) << 5, 0xd280_0ba8, 0xd400_0001]))
        }
        // li r0, 1; li r3, 42; sc. The flags say version 2 of the calling conventions.
        Arch::Ppc64le => {
            (21, 2, words([0x3800_0001, 0x3860_0000 | u32::from(STATUS), 0x4400_0002]))
        }
    };
    let begin = u64::from(ELF_HEADER + PROGRAM_HEADER);
    let length = begin + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    put(&2_u16.to_le_bytes()); // An executable.
    put(&machine.to_le_bytes());
    put(&1_u32.to_le_bytes());
    put(&(BASE + begin).to_le_bytes()); // Where it starts.
    put(&u64::from(ELF_HEADER).to_le_bytes()); // Where the program header is.
    put(&0_u64.to_le_bytes());
    put(&flags.to_le_bytes());
    // Sizes and numbers of headers: one program header, no sections.
    for value in [ELF_HEADER, PROGRAM_HEADER, 1, 0, 0, 0] {
        put(&value.to_le_bytes());
    }
    // Load the whole file, readable and executable.
    put(&1_u32.to_le_bytes());
    put(&5_u32.to_le_bytes());
    for value in [0, BASE, BASE, length, length, 0x1_0000] {
        put(&value.to_le_bytes());
    }
    put(&code);
    file
}

fn words(code: [u32; 3]) -> Vec<u8> {
    code.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_hosts_own_program_ends_as_it_should() {
        let directory = tempfile::tempdir().unwrap();
        let machine = nix::sys::utsname::uname().unwrap().machine().to_string_lossy().into_owned();
        let path = directory.path().join("program");
        fs::write(&path, file(machine.parse().unwrap())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Command::new(&path).status().unwrap().code(), Some(i32::from(STATUS)));
    }

    #[test]
    fn headers_end_where_the_code_begins() {
        for arch in Arch::ALL {
            let file = file(arch);
            assert_eq!(file.len(), 120 + 12, "{arch}");
            assert_eq!(&file[..4], b"\x7fELF");
        }
    }
}
