//! The operations of network load balancers: name, shapes, who may call them, what carries them out.

use super::context::Context;
use super::transaction::Transaction;
use super::{
    capacity, certificates, health, limits, listener_attributes, listeners, load_balancer_attributes,
    load_balancers, rules, subnets, tags, target_group_attributes, target_groups, targets,
};
use crate::api::protocol::{ApiError, Node, Xml};
use crate::api::shapes::{self, Model, Shape, check};

/// An operation of the API.
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// What a caller must be allowed to do.
    pub access: Access,
    /// The shape of its request.
    pub input: fn() -> &'static Shape,
    /// The shape of its answer.
    pub output: fn() -> &'static Shape,
    /// Checks the parameters and carries it out.
    pub run: fn(&mut Transaction, &Node, &Context) -> Result<Outcome, ApiError>,
}

/// What a successful operation answers: the inside of its result.
pub type Outcome = Xml;

/// What an operation does, by which callers may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It changes nothing.
    Reads,
    /// It registers or deregisters targets.
    ChangesTargets,
    /// It changes anything else.
    Changes,
}

macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident, $access:ident, $function:path;)*) => {
        /// All of them, in the order of their names.
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            name: stringify!($name),
            access: Access::$access,
            input: <shapes::$input as Model>::shape,
            output: <shapes::$output as Model>::shape,
            run: |transaction, parameters, context| {
                let input: shapes::$input = check::read(parameters)?;
                let output: shapes::$output = $function(transaction, &input, context)?;
                let mut xml = Xml::new();
                output.write(&mut xml);
                Ok(xml)
            },
        }),*];
    };
}

operations! {
    AddListenerCertificates(AddListenerCertificatesInput) -> AddListenerCertificatesOutput, Changes, certificates::add;
    AddTags(AddTagsInput) -> AddTagsOutput, Changes, tags::add;
    CreateListener(CreateListenerInput) -> CreateListenerOutput, Changes, listeners::create;
    CreateLoadBalancer(CreateLoadBalancerInput) -> CreateLoadBalancerOutput, Changes, load_balancers::create;
    CreateRule(CreateRuleInput) -> CreateRuleOutput, Changes, rules::create;
    CreateTargetGroup(CreateTargetGroupInput) -> CreateTargetGroupOutput, Changes, target_groups::create;
    DeleteListener(DeleteListenerInput) -> DeleteListenerOutput, Changes, listeners::delete;
    DeleteLoadBalancer(DeleteLoadBalancerInput) -> DeleteLoadBalancerOutput, Changes, load_balancers::delete;
    DeleteRule(DeleteRuleInput) -> DeleteRuleOutput, Changes, rules::delete;
    DeleteTargetGroup(DeleteTargetGroupInput) -> DeleteTargetGroupOutput, Changes, target_groups::delete;
    DeregisterTargets(DeregisterTargetsInput) -> DeregisterTargetsOutput, ChangesTargets, targets::deregister;
    DescribeAccountLimits(DescribeAccountLimitsInput) -> DescribeAccountLimitsOutput, Reads, limits::describe;
    DescribeCapacityReservation(DescribeCapacityReservationInput) -> DescribeCapacityReservationOutput, Reads,
        capacity::describe;
    DescribeListenerAttributes(DescribeListenerAttributesInput) -> DescribeListenerAttributesOutput, Reads,
        listener_attributes::describe;
    DescribeListenerCertificates(DescribeListenerCertificatesInput) -> DescribeListenerCertificatesOutput, Reads,
        certificates::describe;
    DescribeListeners(DescribeListenersInput) -> DescribeListenersOutput, Reads, listeners::describe;
    DescribeLoadBalancerAttributes(DescribeLoadBalancerAttributesInput) -> DescribeLoadBalancerAttributesOutput, Reads,
        load_balancer_attributes::describe;
    DescribeLoadBalancers(DescribeLoadBalancersInput) -> DescribeLoadBalancersOutput, Reads, load_balancers::describe;
    DescribeRules(DescribeRulesInput) -> DescribeRulesOutput, Reads, rules::describe;
    DescribeSSLPolicies(DescribeSSLPoliciesInput) -> DescribeSSLPoliciesOutput, Reads, certificates::describe_policies;
    DescribeTags(DescribeTagsInput) -> DescribeTagsOutput, Reads, tags::describe;
    DescribeTargetGroupAttributes(DescribeTargetGroupAttributesInput) -> DescribeTargetGroupAttributesOutput, Reads,
        target_group_attributes::describe;
    DescribeTargetGroups(DescribeTargetGroupsInput) -> DescribeTargetGroupsOutput, Reads, target_groups::describe;
    DescribeTargetHealth(DescribeTargetHealthInput) -> DescribeTargetHealthOutput, Reads, health::describe;
    ModifyCapacityReservation(ModifyCapacityReservationInput) -> ModifyCapacityReservationOutput, Changes,
        capacity::modify;
    ModifyListener(ModifyListenerInput) -> ModifyListenerOutput, Changes, listeners::modify;
    ModifyListenerAttributes(ModifyListenerAttributesInput) -> ModifyListenerAttributesOutput, Changes,
        listener_attributes::modify;
    ModifyLoadBalancerAttributes(ModifyLoadBalancerAttributesInput) -> ModifyLoadBalancerAttributesOutput, Changes,
        load_balancer_attributes::modify;
    ModifyRule(ModifyRuleInput) -> ModifyRuleOutput, Changes, rules::modify;
    ModifyTargetGroup(ModifyTargetGroupInput) -> ModifyTargetGroupOutput, Changes, target_groups::modify;
    ModifyTargetGroupAttributes(ModifyTargetGroupAttributesInput) -> ModifyTargetGroupAttributesOutput, Changes,
        target_group_attributes::modify;
    RegisterTargets(RegisterTargetsInput) -> RegisterTargetsOutput, ChangesTargets, targets::register;
    RemoveListenerCertificates(RemoveListenerCertificatesInput) -> RemoveListenerCertificatesOutput, Changes,
        certificates::remove;
    RemoveTags(RemoveTagsInput) -> RemoveTagsOutput, Changes, tags::remove;
    SetIpAddressType(SetIpAddressTypeInput) -> SetIpAddressTypeOutput, Changes, subnets::set_ip_address_type;
    SetRulePriorities(SetRulePrioritiesInput) -> SetRulePrioritiesOutput, Changes, rules::set_priorities;
    SetSecurityGroups(SetSecurityGroupsInput) -> SetSecurityGroupsOutput, Changes, load_balancers::set_security_groups;
    SetSubnets(SetSubnetsInput) -> SetSubnetsOutput, Changes, subnets::set;
}

impl Operation {
    /// The operation of that name.
    pub fn named(name: &str) -> Option<&'static Operation> {
        OPERATIONS.binary_search_by_key(&name, |operation| operation.name).ok().map(|at| &OPERATIONS[at])
    }
}

/// Operations that only application load balancers have, and the APIs of policies and address pools.
pub const ELSEWHERE: [&str; 13] = [
    "AddTrustStoreRevocations",
    "CreateTrustStore",
    "DeleteSharedTrustStoreAssociation",
    "DeleteTrustStore",
    "DescribeTrustStoreAssociations",
    "DescribeTrustStoreRevocations",
    "DescribeTrustStores",
    "GetResourcePolicy",
    "GetTrustStoreCaCertificatesBundle",
    "GetTrustStoreRevocationContent",
    "ModifyIpPools",
    "ModifyTrustStore",
    "RemoveTrustStoreRevocations",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_in_order_and_found() {
        assert!(OPERATIONS.is_sorted_by_key(|operation| operation.name));
        assert_eq!(OPERATIONS.len(), 38);
        assert_eq!(Operation::named("SetSubnets").unwrap().name, "SetSubnets");
        assert!(Operation::named("Nothing").is_none());
    }
}
