//! signer of rpmfarm.
