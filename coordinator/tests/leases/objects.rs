//! Files that go between workers and an object store, by addresses that the coordinator gives out.

use rpmfarm_coordinator::blob_uploads;
use rpmfarm_lab::serve::s3::{LastRequest, S3Server};
use rpmfarm_proto::v1::blobs_client::BlobsClient;

use super::*;

/// A coordinator with a bucket, and the store that has it.
struct Stored {
    served: Served,
    store: S3Server,
    _dir: TempDir,
}

impl Stored {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = S3Server::start(&dir.path().join("s3"), &["farm"], false).await.unwrap();
        let key = store.write_key(dir.path()).unwrap();
        let options = ["--object-store", "s3://farm/blobs-of-lab", "--s3-endpoint", &store.url()];
        let options = [&options[..], &["--s3-credentials", key.to_str().unwrap()]].concat();
        Self { served: Served::start_with(&options).await, store, _dir: dir }
    }

    async fn fetch(&self, digest: Sha256) -> v1::BlobChunk {
        let mut blobs = BlobsClient::connect(self.served.address.clone()).await.unwrap();
        let digest = digest.hex();
        let request = v1::FetchRequest { digest, by_address: true, ..Default::default() };
        let answer = blobs.fetch(self.served.request(request)).await.unwrap();
        answer.into_inner().message().await.unwrap().unwrap()
    }

    async fn ask(&self, query: v1::UploadQuery) -> Result<v1::UploadReply, tonic::Status> {
        let request = self.served.request(query);
        Ok(self.served.client.clone().upload_offset(request).await?.into_inner())
    }
}

/// A file that is large enough for an address.
fn content() -> Vec<u8> {
    (0..400_000_u32).map(|number| (number % 251) as u8).collect()
}

fn query(assignment: &v1::Assignment, content: &[u8]) -> v1::UploadQuery {
    let file = v1::FileRef {
        name: "hello-1-1.src.rpm".into(),
        digest: Sha256::compute(content).hex(),
        size: content.len() as u64,
        ..Default::default()
    };
    v1::UploadQuery {
        attempt: assignment.attempt,
        epoch: assignment.epoch,
        file: Some(file),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_transfers_by_address_and_a_lie_is_refused() {
    let stored = Stored::start().await;
    stored.served.task().await;
    let mut worker = stored.served.worker("w1").await;
    let assignment = worker.assignment().await;
    let (content, http) = (content(), reqwest::Client::new());
    let (digest, query) = (Sha256::compute(&content), query(&assignment, &content));

    let none = stored.ask(query.clone()).await.unwrap();
    assert_eq!((none.have, none.address.as_str()), (0, ""), "an older worker asks for none");
    let asked = v1::UploadQuery { by_address: true, ..query.clone() };
    let placed = v1::UploadQuery { placed: true, ..query };
    let address = stored.ask(asked.clone()).await.unwrap().address;
    let mut lie = content.clone();
    lie[7] ^= 1;
    for lie in [lie, [&content[..], b"more"].concat()] {
        assert!(http.put(&address).body(lie).send().await.unwrap().status().is_success());
        let error = stored.ask(placed.clone()).await.unwrap_err();
        let codes = [tonic::Code::DataLoss, tonic::Code::OutOfRange];
        assert!(codes.contains(&error.code()), "{error}");
        assert!(!stored.served.farm.blobs.contains(digest));
    }
    let error = stored.ask(placed.clone()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound, "the lie is gone: {error}");

    assert!(http.put(&address).body(content.clone()).send().await.unwrap().status().is_success());
    assert_eq!(stored.ask(placed).await.unwrap().have, content.len() as u64);
    assert_eq!(stored.served.farm.blobs.verify(digest).unwrap(), content.len() as u64);
    // The address is good for another ten minutes, but nobody reads what lies there any more.
    assert!(http.put(&address).body("lie").send().await.unwrap().status().is_success());
    assert_eq!(stored.ask(asked).await.unwrap().have, content.len() as u64);

    let sent = stored.fetch(digest).await;
    assert_eq!((sent.address.as_str(), sent.size), ("", content.len() as u64), "not uploaded yet");
    assert_eq!(blob_uploads::pass(&stored.served.farm.blobs).await.unwrap(), 2);
    let told = stored.fetch(digest).await;
    assert_eq!((told.size, told.data.len()), (content.len() as u64, 0));
    let got = http.get(&told.address).send().await.unwrap().bytes().await.unwrap();
    assert!(got == content);
    let unsigned = told.address.split('?').next().unwrap().to_owned();
    assert_eq!(http.get(unsigned).send().await.unwrap().status(), 403, "to nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_a_coordinator_goes_on_and_catches_up() {
    let stored = Stored::start().await;
    let blobs = &stored.served.farm.blobs;
    stored.store.cut_after(0, LastRequest::Lost);
    let digest = blobs.put(b"written while the store is away").unwrap();
    blob_uploads::pass(blobs).await.unwrap_err();
    assert_eq!(blobs.read_small(digest, 100).unwrap(), b"written while the store is away");
    assert_eq!(blobs.to_upload().unwrap(), [digest]);
    stored.store.restore();
    assert_eq!(blob_uploads::pass(blobs).await.unwrap(), 1);
    assert_eq!((blobs.to_upload().unwrap(), blobs.size_in_bucket(digest)), (vec![], Some(31)));
}
