//! coordinator of rpmfarm.
