//! What an EC2-compatible endpoint answers: it may be anybody.

use lb_userspace::api::inventory::ec2;

/// Reads an answer as each of those that are asked for, and as a refusal.
pub fn answers(input: &[u8]) {
    ec2::play_answer(input);
}
