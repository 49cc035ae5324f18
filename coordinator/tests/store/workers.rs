//! Workers: decisions about them, invitations and certificates.

use rpmfarm_coordinator::store::{Certificate, Invitation};
use rpmfarm_core::Arch;
use rpmfarm_core::enrolment::TokenUse;
use rpmfarm_core::worker_standing::{Standing, StandingError};

use crate::common::on_both;
use crate::{NOW, US, digest};

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_decision_about_a_worker_holds() {
    on_both(|store| async move {
        assert_eq!(store.standing_fetch("w").await.unwrap(), None);
        let set = async |wanted, reason: &str| {
            // The clock does not matter: it may even go back.
            store.standing_set("w", wanted, reason, NOW).await.unwrap()
        };
        assert_eq!(set(Standing::Quarantined, "3 packages failed").await, Ok(true));
        assert_eq!(set(Standing::Drained, "new disk").await, Ok(true));
        assert_eq!(set(Standing::Drained, "again").await, Ok(false));
        assert_eq!(set(Standing::Quarantined, "more failed").await, Ok(false), "it is drained");
        store.standing_set("v", Standing::Quarantined, "x", NOW).await.unwrap().unwrap();
        let all = store.standing_list().await.unwrap();
        assert_eq!((all.len(), all["w"].standing), (2, Standing::Drained));
        assert_eq!(all["w"].reason, "new disk");
        assert_eq!(set(Standing::Active, "").await, Ok(true));
        assert_eq!(set(Standing::Revoked, "stolen").await, Ok(true));
        assert_eq!(set(Standing::Active, "").await, Err(StandingError::Revoked));
        let history = store.standing_list_history("w", 10).await.unwrap();
        let standings: Vec<_> = history.iter().map(|row| row.standing).collect();
        let expected =
            [Standing::Revoked, Standing::Active, Standing::Drained, Standing::Quarantined];
        assert_eq!(standings, expected);
    })
    .await;
}

fn certificate(worker: &str, text: &str) -> Certificate {
    Certificate {
        fingerprint: digest(text),
        worker: worker.into(),
        serial: "07".into(),
        pem: text.into(),
        issued: NOW,
        ends: NOW + 100 * US,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_used_once_and_a_revocation_ends_all_certificates() {
    on_both(|store| async move {
        let invitation = Invitation {
            worker: "w".into(),
            arches: vec![Arch::X86_64],
            created: NOW,
            expires: NOW + 10 * US,
            used: None,
        };
        store.invitation_insert(digest("token"), &invitation).await.unwrap();
        assert_eq!(
            store.invitation_fetch(digest("token")).await.unwrap(),
            Some(invitation.clone())
        );
        assert_eq!(store.invitation_fetch(digest("other")).await.unwrap(), None);
        assert_eq!(store.enrolment_fetch_arches("w").await.unwrap(), None);

        let (key, first) = (digest("key"), certificate("w", "first"));
        let enrol = async |token: &str, key, certificate: Certificate| {
            let arches = [Arch::X86_64];
            store.worker_enrol(digest(token), &arches, key, &certificate, NOW + US).await.unwrap()
        };
        assert!(enrol("token", key, first.clone()).await);
        assert!(!enrol("token", digest("thief"), certificate("w", "thief")).await);
        assert_eq!(store.certificate_fetch(digest("thief")).await.unwrap(), None);
        let used = store.invitation_fetch(digest("token")).await.unwrap().unwrap().used;
        assert_eq!(used, Some((TokenUse { key, at: NOW + US }, first.fingerprint)));
        assert_eq!(store.enrolment_fetch_arches("w").await.unwrap(), Some(vec![Arch::X86_64]));

        // Renewing leaves the first one as it is; only the worker's own can be renewed.
        assert!(
            store.certificate_renew(first.fingerprint, &certificate("w", "second")).await.unwrap()
        );
        assert!(
            !store
                .certificate_renew(first.fingerprint, &certificate("v", "foreign"))
                .await
                .unwrap()
        );
        assert!(
            !store.certificate_renew(digest("none"), &certificate("w", "unknown")).await.unwrap()
        );
        let ended =
            async |text: &str| store.certificate_fetch(digest(text)).await.unwrap().unwrap().ended;
        assert_eq!((ended("first").await, ended("second").await), (None, None));
        assert_eq!(store.enrolment_list().await.unwrap()["w"], Some(NOW + 100 * US));

        store.standing_set("w", Standing::Revoked, "stolen", NOW + 2 * US).await.unwrap().unwrap();
        assert_eq!(ended("first").await.as_deref(), Some("revoked: stolen"));
        assert!(ended("second").await.is_some());
        assert!(
            !store.certificate_renew(digest("second"), &certificate("w", "third")).await.unwrap()
        );
        assert_eq!(store.enrolment_list().await.unwrap()["w"], None);

        // A new invitation lets it in again, with the new certificate only.
        store.invitation_insert(digest("token 2"), &invitation).await.unwrap();
        assert!(enrol("token 2", digest("key 2"), certificate("w", "fourth")).await);
        assert_eq!(store.standing_fetch("w").await.unwrap().unwrap().standing, Standing::Active);
        assert!(ended("second").await.is_some());
        assert_eq!(ended("fourth").await, None);
        assert_eq!(store.certificate_list("w", 2).await.unwrap().len(), 2);
    })
    .await;
}
