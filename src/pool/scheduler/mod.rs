//! Who runs what, and what becomes of a task when its worker dies: the pool's rules as a pure state machine.
//!
//! It promises that every task it accepts is resolved exactly once, that one death costs at most the
//! item that was running, and that a worker is sent nothing after it was condemned. It knows neither
//! processes nor memory nor a clock: the supervisor tells it what happened ([`Event`]) and when, and
//! performs the [`Action`]s it is given. Nothing here depends on the order of a hash map or on chance,
//! so a history replayed is the same history.
//!
//! | file      | what it holds                                                       |
//! | --------- | ------------------------------------------------------------------- |
//! | `event`   | the vocabulary between the machine and its supervisor               |
//! | `machine` | [`Scheduler`]: the rules                                            |
//! | `deaths`  | what the death of a worker costs, and when the pool gives up        |
//! | `task`    | the table of unresolved tasks, their queue, those that run alone    |
//! | `places`  | how many workers there are, who leaves, who comes                   |
//! | `slot`    | the places of workers, their states, and who has credit left        |
//! | `tests`   | the rules by example                                                |
//! | `sim`     | random histories against an independent oracle, and planted bugs    |

#![forbid(unsafe_code)]

mod deaths;
mod event;
mod machine;
mod places;
#[cfg(test)]
mod sim;
mod slot;
mod task;
#[cfg(test)]
mod tests;

pub use event::Shutdown;
pub(crate) use event::{
    Action, Backoff, Blame, Config, Delivery, Event, Refused, Resolution, WorkerId,
};
pub(crate) use machine::Scheduler;
pub(crate) use task::{Split, TaskId, TaskSpec};
