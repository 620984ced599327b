//! Backstores that a daemon serves and that are not ready: why.

use std::collections::HashMap;

use serde_json::Value;

/// The reasons, by the names of backstores.
#[derive(Debug, Default)]
pub(super) struct Away(HashMap<String, String>);

impl Away {
    /// As `backstores.list` tells them; none, if the daemon does not know that method.
    pub(super) fn read(answer: &Value) -> Self {
        let away =
            |store: &Value| Some((store["name"].as_str()?.to_owned(), store["why"].as_str()?.to_owned()));
        Self(answer["backstores"].as_array().into_iter().flatten().filter_map(away).collect())
    }

    /// Why that one is not ready, if it is not.
    pub(super) fn of(&self, store: &str) -> Option<&str> {
        self.0.get(store).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_ready_has_no_reason() {
        let stores =
            json!([{ "name": "a", "why": null }, { "name": "b", "why": "/b.img: is empty; fill it" }]);
        let away = Away::read(&json!({ "backstores": stores }));
        assert_eq!((away.of("a"), away.of("b")), (None, Some("/b.img: is empty; fill it")));
        assert_eq!(Away::read(&Value::Null).of("b"), None);
    }
}
