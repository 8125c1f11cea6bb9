//! Driver: processes: what others see of one, its own side, its beginning and its end.
pub(crate) mod address;
pub(crate) mod attended;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod dormant;
pub(crate) mod ending;
pub(crate) mod joint;
pub(crate) mod kill;
pub(crate) mod mail_age;
pub(crate) mod naming;
pub(crate) mod receive;
pub(crate) mod reply;
pub(crate) mod send;
pub(crate) mod spawn;
pub(crate) mod table;
pub(crate) mod wrapper;
