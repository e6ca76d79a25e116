//! Dialling.
pub struct DialError; pub struct DialEvent; pub struct DialReport; pub struct DialSettings; pub fn dial() {}
