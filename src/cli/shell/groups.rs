//! Target port groups of a backstore: how they are made and deleted, and what is configured of each.

use std::sync::LazyLock;

use super::Shell;
use super::access::STATE;
use super::node;
use super::settings::{Form, Setting, s, with_lio};
use super::verbs::Values;
use crate::admin::config::{ACCESS, Config, words};
use crate::admin::lio;
use crate::scsi::{DEFAULT_GROUP, Group, Supported};

/// The settings of a group.
pub(super) static SETTINGS: LazyLock<Vec<Setting>> =
    LazyLock::new(|| with_lio(OWN, &[("alua", lio::OF_ALUA)]));

const STATES: &str = "which states a group can be in is said in the file, by supported_states of its \
                      [[backstore.alua.group]]";

const ONE_TIME: &str =
    "it is one for all groups, and is said in the file, by implicit_transition_time of [backstore.alua]";

static OWN: &[Setting] = &[
    // It is no part of the configuration.
    s(
        "alua",
        STATE,
        "",
        Form::Word,
        "the state it is in: 0 active/optimized, 1 active/non-optimized, 2 standby, 3 unavailable, 15 transitioning",
    ),
    s(
        "alua",
        "alua_access_type",
        "access",
        Form::Access,
        "what changes that: none, implicit (you), explicit (initiators) or both; 0 to 3 are the same",
    ),
    s("alua", "preferred", "preferred", Form::Flag, "of several groups that do, this is the one to use"),
    s("alua", "implicit_trans_secs", "", Form::Fixed(ONE_TIME), "how long a change may take"),
    s("alua", "alua_support_active_optimized", "", Form::Fixed(STATES), "that it can be that"),
    s("alua", "alua_support_active_nonoptimized", "", Form::Fixed(STATES), "that it can be that"),
    s("alua", "alua_support_standby", "", Form::Fixed(STATES), "that it can be that"),
    s("alua", "alua_support_unavailable", "", Form::Fixed(STATES), "that it can be that"),
    s("alua", "alua_support_transitioning", "", Form::Fixed(STATES), "that it can be that"),
];

/// The word for what changes a group's state, of that word or of targetcli's number or words.
pub(super) fn access(text: &str) -> Result<&'static str, String> {
    let both = text.eq_ignore_ascii_case("implicit and explicit");
    let numbered = text.parse::<usize>().ok().and_then(|number| ACCESS.get(number));
    let named = ACCESS.iter().find(|(word, ..)| text.eq_ignore_ascii_case(word) || (both && *word == "both"));
    numbered.or(named).map(|(word, ..)| *word).ok_or_else(|| {
        let hint = words::suggestion(text, ACCESS.iter().map(|(word, ..)| *word));
        format!("\"{text}\" is neither the number of an access nor its name; {hint}")
    })
}

/// What LIO's groups have by themselves, of what cannot be set of one here.
pub(super) fn usual(name: &str) -> Option<&'static str> {
    match name {
        "implicit_trans_secs" => Some("0"),
        _ => name.starts_with("alua_support_").then_some("1"),
    }
}

/// What counts for a group where nothing is written.
pub(super) fn default(config: &Config, store: &str, group: &str, name: &str) -> Option<String> {
    let seconds = node::store(config, store)?.groups.transition_seconds();
    node::alua_group(config, store, group).map(|group| of_group(group, seconds, name))
}

fn of_group(group: &Group, seconds: u8, name: &str) -> String {
    let supports = |state| u8::from(group.supported.contains(state)).to_string();
    let changes = |(_, implicit, explicit): &&(_, bool, bool)| {
        (*implicit, *explicit) == (group.implicit, group.explicit)
    };
    match name {
        "alua_access_type" => ACCESS.iter().find(changes).map_or("", |(word, ..)| *word).into(),
        "preferred" => u8::from(group.preferred).to_string(),
        "implicit_trans_secs" => seconds.to_string(),
        "alua_support_active_optimized" => supports(Supported::OPTIMIZED),
        "alua_support_active_nonoptimized" => supports(Supported::NON_OPTIMIZED),
        "alua_support_standby" => supports(Supported::STANDBY),
        "alua_support_unavailable" => supports(Supported::UNAVAILABLE),
        "alua_support_transitioning" => supports(Supported::TRANSITIONING),
        _ => String::new(),
    }
}

impl Shell {
    pub(super) fn create_group(&mut self, store: &str, values: &Values) -> Result<String, String> {
        let name = values.must("name").to_owned();
        let tag = values.number("tag")?.unwrap_or_default();
        if node::alua_group(&self.config, store, &name).is_some() {
            return Err(format!("there is a target port group {name} already"));
        }
        self.edit(|doc| doc.add_group(store, &name, Some(tag)))?;
        self.say(format!("Created target port group {name}."));
        Ok(name)
    }

    pub(super) fn delete_group(&mut self, store: &str, name: &str) -> Result<(), String> {
        if name == DEFAULT_GROUP {
            return Err(format!("{name} is always there: LUNs are in it that are in no other"));
        }
        self.edit(|doc| doc.remove_group(store, name))?;
        self.say(format!("Deleted target port group {name}."));
        Ok(())
    }
}
