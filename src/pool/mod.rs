//! The pool: worker processes that may die, and the tasks that survive them.

mod scheduler;
