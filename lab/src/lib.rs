//! lab of rpmfarm.
