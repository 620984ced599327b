//! What a user likes: global preferences and bookmarks, kept from one shell to the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::admin::{edit, state};

/// The preferences of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Prefs {
    pub(super) auto_add_default_portal: bool,
    pub(super) auto_add_mapped_luns: bool,
    pub(super) auto_cd_after_create: bool,
    pub(super) auto_save_on_exit: bool,
    pub(super) color_mode: bool,
    pub(super) max_backup_files: u32,
    pub(super) tree_max_depth: u32,
    pub(super) bookmarks: BTreeMap<String, String>,
}

impl Default for Prefs {
    fn default() -> Self {
        Self {
            auto_add_default_portal: true,
            auto_add_mapped_luns: true,
            auto_cd_after_create: false,
            auto_save_on_exit: true,
            color_mode: true,
            max_backup_files: edit::BACKUPS as u32,
            tree_max_depth: 0,
            bookmarks: BTreeMap::new(),
        }
    }
}

/// Their names, and what they are about.
pub(super) const NAMES: [(&str, &str); 7] = [
    ("auto_add_default_portal", "a new group listens at 0.0.0.0:3260"),
    ("auto_add_mapped_luns", "new ACLs see all LUNs, and new LUNs are seen by all ACLs"),
    ("auto_cd_after_create", "go to what was created"),
    ("auto_save_on_exit", "save when the shell ends"),
    ("color_mode", "colour on terminals"),
    ("max_backup_files", "how many earlier files are kept in backup/"),
    ("tree_max_depth", "how deep `ls` goes; 0 is all the way"),
];

const COLOURS: &str = "there is one set of colours; color_mode=false turns them off";
const LOG: &str = "the shell keeps no log; the daemon's is in the journal";
const DRAWN: &str = "trees are drawn in one way";

/// Those of targetcli that have nothing to say here, and why.
const MOOT: [(&str, &str); 17] = [
    ("auto_enable_tpgt", "every group that is configured is enabled"),
    ("auto_use_daemon", "the daemon that serves the file is asked wherever there is one"),
    ("color_command", COLOURS),
    ("color_default", COLOURS),
    ("color_keyword", COLOURS),
    ("color_parameter", COLOURS),
    ("color_path", COLOURS),
    ("completions_in_columns", "completions are listed as there is room"),
    ("daemon_use_batch_mode", "lines that come together are done together"),
    ("export_backstore_name_as_model", "the model that initiators see is `product` of the [[backstore]]"),
    ("logfile", LOG),
    ("loglevel_console", LOG),
    ("loglevel_file", LOG),
    ("prompt_length", "the prompt is the path"),
    ("tree_round_nodes", DRAWN),
    ("tree_show_root", DRAWN),
    ("tree_status_mode", DRAWN),
];

/// Why a preference of targetcli makes no difference here.
pub(super) fn moot(name: &str) -> Option<&'static str> {
    MOOT.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason)
}

/// The directory of what a user likes, if he has one.
pub(super) fn dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(base.join("ringtgt"))
}

impl Prefs {
    /// Those of `file`, or the defaults where it says nothing.
    pub(super) fn load(file: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text).map_err(|e| format!("{}: {}", file.display(), e.message())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("{}: {e}", file.display())),
        }
    }

    /// Keeps them.
    pub(super) fn store(&self, file: &Path) -> Result<(), String> {
        let text = toml::to_string(self).map_err(|e| e.to_string())?;
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        // One that is named by a link is replaced where it is.
        let place = file.canonicalize().unwrap_or_else(|_| file.into());
        let kept = made.and_then(|()| state::replace(&place, text.as_bytes()));
        kept.map_err(|e| format!("{}: {e}", file.display()))
    }

    fn flag(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "auto_add_default_portal" => &mut self.auto_add_default_portal,
            "auto_add_mapped_luns" => &mut self.auto_add_mapped_luns,
            "auto_cd_after_create" => &mut self.auto_cd_after_create,
            "auto_save_on_exit" => &mut self.auto_save_on_exit,
            "color_mode" => &mut self.color_mode,
            _ => return None,
        })
    }

    fn number(&mut self, name: &str) -> Option<&mut u32> {
        match name {
            "max_backup_files" => Some(&mut self.max_backup_files),
            "tree_max_depth" => Some(&mut self.tree_max_depth),
            _ => None,
        }
    }

    /// The value of one of [`NAMES`].
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let mut copy = self.clone();
        let flag = copy.flag(name).map(|flag| flag.to_string());
        flag.or_else(|| copy.number(name).map(|number| number.to_string()))
    }

    /// What one of [`NAMES`] can be; of a number, what it is.
    pub(super) fn choices(&self, name: &str) -> Vec<String> {
        let is_flag = self.clone().flag(name).is_some();
        if is_flag { vec!["true".into(), "false".into()] } else { self.get(name).into_iter().collect() }
    }

    /// Sets one of [`NAMES`].
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(number) = self.number(name) {
            *number = value.parse().map_err(|_| format!("\"{value}\" is no number"))?;
            return Ok(());
        }
        let flag = self.flag(name).ok_or_else(|| format!("there is no preference {name}"))?;
        *flag = super::settings::flag(value)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/shell.toml");
        let mut prefs = Prefs::load(&file).unwrap();
        assert_eq!(prefs, Prefs::default());
        for (name, _) in NAMES {
            let is_number = ["tree_max_depth", "max_backup_files"].contains(&name);
            prefs.set(name, if is_number { "3" } else { "false" }).unwrap();
        }
        prefs.bookmarks.insert("a".into(), "/iscsi".into());
        prefs.store(&file).unwrap();
        let first = std::fs::File::open(&file).unwrap();
        prefs.bookmarks.insert("b".into(), "/".into());
        prefs.store(&file).unwrap();
        assert_eq!(Prefs::load(&file).unwrap(), prefs);
        // A full disk leaves what was kept before.
        let before = std::io::read_to_string(first).unwrap();
        assert!(before.contains("/iscsi") && !before.contains("b ="), "it is replaced: {before}");
        assert_eq!(prefs.get("tree_max_depth").as_deref(), Some("3"));
        assert!(prefs.set("color_mode", "maybe").is_err() && prefs.set("none", "1").is_err());
        std::fs::write(&file, "x = ").unwrap();
        assert!(Prefs::load(&file).unwrap_err().contains("shell.toml"));
    }
}
