//! A running node's log as others read it: by the crates `signed_note` and `tlog_tiles` over HTTP, with no code of the nodes.

use std::time::Duration;

use domain::member::Role;
use ledger::key::{NoteSigner, PrivateKey};
use serde_json::json;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Hash, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree,
    record_hash, tree_hash,
};

use crate::support::{TestNode, desk, eventually};

/// Where a log is served.
struct Served(String);

impl Served {
    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let got = async {
            let answer = reqwest::get(format!("{}/{path}", self.0)).await.ok()?.error_for_status().ok()?;
            Some(answer.bytes().await.ok()?.to_vec())
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(got))
    }

    /// The signed head, if it is good under a key.
    fn head(&self, vkey: &str) -> Result<Checkpoint, String> {
        let note = Note::from_bytes(&self.bytes("checkpoint").unwrap()).map_err(|error| error.to_string())?;
        let known = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
        note.verify(&known).map_err(|error| error.to_string())?;
        Checkpoint::from_bytes(note.text()).map_err(|error| error.to_string())
    }

    /// An entry of a log of so many: in its bundle each has its length before it, two bytes.
    fn entry(&self, index: u64, size: u64) -> Vec<u8> {
        let width = u32::try_from((size - index / 256 * 256).min(256)).unwrap();
        let path = Tile::new(8, 0, index / 256, width, false).path().replacen("tile/8/0/", "tile/entries/", 1);
        let bundle = self.bytes(&path).unwrap();
        let mut left = bundle.as_slice();
        let mut entries = Vec::new();
        while let Some((length, rest)) = left.split_first_chunk() {
            let (entry, rest) = rest.split_at(u16::from_be_bytes(*length).into());
            entries.push(entry);
            left = rest;
        }
        assert_eq!(entries.len(), width as usize, "{path}");
        entries[usize::try_from(index % 256).unwrap()].to_vec()
    }
}

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // Theirs says the height of its tiles; in tlog-tiles there is one height.
        let path = |tile: &Tile| tile.path().replacen("tile/8/", "tile/", 1);
        tiles.iter().map(|tile| self.bytes(&path(tile)).ok_or(Error::InvalidTile)).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn other_implementations_verify_a_running_nodes_log_and_its_mirror() {
    let root = tempfile::tempdir().unwrap();
    let mut node = TestNode::new(root.path(), "health", &[Role::Issuer], None);
    node.start().await;
    let mut other = TestNode::new(root.path(), "gulou", &[Role::Hospital], Some(&node));
    desk::register(&node, &other).await;
    other.start().await;
    desk::publish(&node, "checkup").await;
    let (vkey, log) = (node.vkey(), Served(format!("{}/log", node.url)));
    let older = log.head(&vkey).unwrap();
    // More than two tiles, so that there is a level above the leaves.
    let (status, made) = node.post("/v1/issuer/vouchers", &json!({ "programme": "checkup", "count": 600 })).await;
    assert_eq!(status, 201, "{made}");
    let mirror = Served(format!("{}/mirrors/health", other.url));
    eventually("the mirror has all", Duration::from_secs(30), || async {
        mirror.head(&vkey).is_ok_and(|head| head.size() > older.size() + 512)
    })
    .await;

    let strange = NoteSigner::new(&node.origin(), PrivateKey::from_seed(&[9; 32])).unwrap().verifier().to_string();
    for served in [log, mirror] {
        assert!(served.head(&strange).is_err(), "{}: another key", served.0);
        let head = served.head(&vkey).unwrap();
        let (size, top) = (head.size(), *head.hash());
        assert_eq!((head.origin(), head.extension()), (node.origin().as_str(), ""), "{}", served.0);
        let tiles = TileHashReader::new(size, top, &served);
        assert_eq!(tree_hash(size, &tiles).unwrap(), top, "{}", served.0);
        for index in [0, 1, 255, 256, 511, 512, size - 1] {
            let mut entry = served.entry(index, size);
            let (leaf, proof) = (record_hash(&entry), prove_record(size, index, &tiles).unwrap());
            check_record(&proof, size, top, index, leaf).unwrap_or_else(|e| panic!("{} {index}: {e}", served.0));
            let (_, record) = node.get(&format!("/v1/records/health.{index}")).await;
            assert_eq!(record["name"]["id"], hex::encode(leaf.0), "{} {index}", served.0);
            *entry.last_mut().unwrap() ^= 1;
            assert!(check_record(&proof, size, top, index, record_hash(&entry)).is_err(), "{} {index}", served.0);
        }
        let proof = prove_tree(size, older.size(), &tiles).unwrap();
        check_tree(&proof, size, top, older.size(), *older.hash()).unwrap();
        assert!(check_tree(&proof, size, top, older.size(), Hash([7; 32])).is_err(), "{}", served.0);
    }
}
