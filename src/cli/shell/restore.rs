//! `restoreconfig`.

use super::Shell;
use super::verbs::Values;
use crate::admin::edit::Document;

impl Shell {
    pub(super) fn restoreconfig(&mut self, values: &Values) -> Result<(), String> {
        let file = values.get("savefile").map_or_else(|| self.backend.file().to_owned(), Into::into);
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
        let saved = Document::parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        let (target, store) = (values.get("target"), values.get("storage_object"));
        let store = store.map(|said| said.rsplit('/').next().unwrap_or(said));
        let clear = values.flag("clear_existing")?.unwrap_or(false);
        let all = target.is_none() && store.is_none();
        let mut left = Vec::new();
        self.edit(|doc| {
            if clear && all {
                *doc = saved;
                return Ok(());
            }
            if clear {
                doc.clear();
            }
            left =
                doc.take_from(&saved, |name| all || store == Some(name), |iqn| all || target == Some(iqn))?;
            Ok(())
        })?;
        if !left.is_empty() {
            self.say(format!("Left as they are, because they are there already: {}", left.join(", ")));
        }
        self.say(format!("Configuration restored from {}", file.display()));
        Ok(())
    }
}
