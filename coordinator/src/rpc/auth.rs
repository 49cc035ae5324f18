//! Who may call what: reading is open, writing and everything of workers needs the token.

use rpmfarm_proto::AUTHORIZATION;
use tonic::{Request, Status};

use crate::token::Token;

/// Refuses a call without the token.
///
/// # Errors
/// `UNAUTHENTICATED` when the call carries none or a wrong one.
pub fn check<T>(token: &Token, request: &Request<T>) -> Result<(), Status> {
    let given = request.metadata().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given {
        Some(given) if token.admits(given) => Ok(()),
        Some(_) => Err(Status::unauthenticated("the token is not this farm's")),
        None => Err(Status::unauthenticated("this call needs the farm's token")),
    }
}
