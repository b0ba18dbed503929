//! Which roles run on this node: each an actor on a thread of its own.

use actix::{Actor as _, Arbiter};
use actors::role::{RoleActor, Rules};
use domain::member::Role;

use crate::node::Node;

fn start_one<R: Rules>(node: &mut Node) {
    let writer = node.writer.clone();
    let arbiter = Arbiter::new();
    let address = RoleActor::<R>::start_in_arbiter(&arbiter.handle(), move |_| RoleActor::new(writer));
    node.add(address);
}

/// Starts the roles of the configuration.
pub fn start(node: &mut Node) {
    for role in node.config.roles.clone() {
        match role {
            Role::Issuer => start_one::<actors::issuer::Issuer>(node),
            Role::Community => {
                actors::community::set_signer(node.config.institution, &node.keys.node_key().to_bytes());
                start_one::<actors::community::Community>(node);
            }
            Role::Voucher => start_one::<actors::voucher::VoucherModule>(node),
            Role::Hospital => start_one::<actors::hospital::Hospital>(node),
            Role::Auditor => start_one::<actors::auditor::Auditor>(node),
        }
    }
}
