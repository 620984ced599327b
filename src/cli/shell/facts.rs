//! What a daemon serves of a backstore: what counts where nothing is written, and as long as something else is served than
//! what is written, which waits for the next start.

use serde_json::{Value, json};

use super::Shell;
use super::node::Node;
use crate::admin::config::{show_naa, show_uuid};
use crate::store::StoreConfig;

/// Keys of the configuration, and what `backstores.list` calls the same.
const TOLD: [(&str, &str); 7] = [
    ("serial", "serial"),
    ("naa", "naa"),
    ("uuid", "uuid"),
    ("block_size", "block_size"),
    ("size", "bytes"),
    ("write_back", "write_back"),
    ("read_only", "read_only"),
];

/// What is served by these keys, as the shell shows it; nothing, where no daemon tells.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<(&'static str, String)>);

impl Facts {
    fn read(answer: &Value, name: &str) -> Self {
        let all = answer["backstores"].as_array();
        let one = all.and_then(|all| all.iter().find(|store| store["name"] == name));
        let told = |(key, it): (&'static str, &str)| Some((key, word(&one?[it])?));
        Self(TOLD.into_iter().filter_map(told).collect())
    }

    /// What is served by that key.
    pub(super) fn of(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// What is served in the place of what is written, until the next start. A cache is wished for: what has none gets none.
    pub(super) fn instead(&self, store: &StoreConfig, key: &str) -> Option<&str> {
        let served = self.of(key).filter(|_| key != "write_back")?;
        written(store, key).filter(|written| written != served).map(|_| served)
    }
}

fn word(told: &Value) -> Option<String> {
    match told {
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// What is written by a key, in the words of what is served.
fn written(store: &StoreConfig, key: &str) -> Option<String> {
    let identity = &store.identity;
    match key {
        "serial" => identity.serial.clone(),
        "naa" => identity.naa.as_deref().map(show_naa),
        "uuid" => identity.uuid.as_ref().map(show_uuid),
        "block_size" => store.block_size.map(|size| size.to_string()),
        "size" => store.size.map(|size| size.to_string()),
        "read_only" => Some(u8::from(store.read_only).to_string()),
        _ => None,
    }
}

impl Shell {
    /// What is served of `node`, if it is a backstore.
    pub(super) fn facts(&self, node: &Node) -> Facts {
        let Node::Store(name) = node else { return Facts::default() };
        if !self.backend.standing().is_live() {
            return Facts::default();
        }
        let asked = json!({ "names": [name] });
        Facts::read(&self.backend.ask("backstores.list", asked).unwrap_or_default(), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreKind;

    #[test]
    fn what_is_served_is_told_where_something_else_is_written() {
        let a = json!({ "name": "a", "why": null, "block_size": 512, "bytes": 1 << 20, "write_back": true, "naa": "30" });
        let facts = Facts::read(&json!({ "backstores": [{ "name": "b", "naa": "31" }, a] }), "a");
        let size = Some(1 << 20);
        let store = StoreConfig { size, block_size: Some(4096), ..StoreConfig::new(StoreKind::Fileio, "a") };
        assert_eq!(["naa", "write_back", "uuid"].map(|key| facts.of(key)), [Some("30"), Some("1"), None]);
        let instead = ["block_size", "size", "write_back"].map(|key| facts.instead(&store, key));
        assert_eq!(instead, [Some("512"), None, None]);
        assert_eq!(Facts::read(&Value::Null, "a").of("naa"), None);
    }
}
