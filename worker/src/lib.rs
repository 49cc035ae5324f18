//! The worker of rpmfarm.
