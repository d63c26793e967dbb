//! What the daemon's tasks are doing and wait for, for `status --tasks`. It supervises nothing.
//!
//! A task reports each change of its state; while bytes flow there is none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::lock::lock;

/// The tasks of a daemon.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    next: u64,
    tasks: BTreeMap<u64, Task>,
}

struct Task {
    device: Option<String>,
    name: String,
    state: &'static str,
    waits_for: Cow<'static, str>,
    since: Instant,
}

/// A task's own entry, which goes with it.
pub struct TaskState {
    tasks: Tasks,
    number: u64,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The device that it serves, if it serves one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<String>,
    /// What it looks after: `supervisor`, or an outlet.
    pub task: String,
    /// What it is doing.
    pub state: String,
    /// What it waits for.
    pub waits_for: String,
    /// For how long, in seconds.
    pub seconds: f64,
}

impl Tasks {
    /// Adds a task.
    pub fn add(&self, device: Option<&str>, name: &str, state: &'static str, waits_for: &'static str) -> TaskState {
        let mut registry = lock(&self.0);
        let number = registry.next;
        registry.next += 1;
        let (device, name, since) = (device.map(str::to_owned), name.to_owned(), Instant::now());
        registry.tasks.insert(number, Task { device, name, state, waits_for: waits_for.into(), since });
        TaskState { tasks: self.clone(), number }
    }

    /// All of them, by their device and age.
    pub fn status(&self) -> Vec<TaskStatus> {
        let registry = lock(&self.0);
        let mut all: Vec<&Task> = registry.tasks.values().collect();
        all.sort_by(|a, b| a.device.cmp(&b.device));
        all.into_iter().map(Task::status).collect()
    }
}

impl Task {
    fn status(&self) -> TaskStatus {
        TaskStatus {
            device: self.device.clone(),
            task: self.name.clone(),
            state: self.state.to_owned(),
            waits_for: self.waits_for.to_string(),
            seconds: self.since.elapsed().as_secs_f64(),
        }
    }
}

impl TaskState {
    /// From now on it does this, and waits for that.
    pub fn set(&self, state: &'static str, waits_for: impl Into<Cow<'static, str>>) {
        if let Some(task) = lock(&self.tasks.0).tasks.get_mut(&self.number) {
            *task = Task {
                device: task.device.take(),
                name: std::mem::take(&mut task.name),
                state,
                waits_for: waits_for.into(),
                since: Instant::now(),
            };
        }
    }
}

impl Drop for TaskState {
    fn drop(&mut self) {
        lock(&self.tasks.0).tasks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_there_with_its_newest_state_until_it_ends() {
        let tasks = Tasks::default();
        let device = tasks.add(Some("d"), "ep_81", "absent", "the device");
        let daemon = tasks.add(None, "admin.sock", "serving", "a command");
        device.set("idle", "a program that reads");
        let shown = || -> Vec<String> {
            let all = tasks.status().into_iter();
            all.map(|t| format!("{:?} {} {} {}", t.device, t.task, t.state, t.waits_for)).collect()
        };
        assert_eq!(shown(), ["None admin.sock serving a command", "Some(\"d\") ep_81 idle a program that reads"]);
        drop(device);
        assert_eq!(shown().len(), 1);
        drop(daemon);
        assert!(shown().is_empty());
    }
}
