//! Amazon resource names: made from what is there, and read back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number in a resource's name: 64 random bits, 16 hexadecimal digits. It is kept as those digits too: as a number
/// it would be more than some readers of JSON can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ResourceId(pub u64);

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for ResourceId {
    type Error = String;

    fn try_from(text: String) -> Result<ResourceId, String> {
        number(&text).ok_or_else(|| format!("{text:?} is not an id of 16 hexadecimal digits"))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who this server is in the names that it gives out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The first part of every name: `aws`.
    pub partition: String,
    /// The region.
    pub region: String,
    /// The account, 12 digits.
    pub account: String,
    /// The domain that load balancers' DNS names are in.
    pub domain: String,
}

impl Default for Identity {
    fn default() -> Self {
        let [partition, region, account, domain] =
            ["aws", "local", "000000000000", "internal"].map(str::to_owned);
        Identity { partition, region, account, domain }
    }
}

/// What a name names. Whether it is there is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `loadbalancer/net/NAME/ID`.
    LoadBalancer(Load),
    /// `listener/net/NAME/ID/ID`.
    Listener(Load, ResourceId),
    /// `listener-rule/net/NAME/ID/ID/ID`.
    Rule(Load, ResourceId, ResourceId),
    /// `targetgroup/NAME/ID`.
    TargetGroup(String, ResourceId),
    /// `truststore/NAME/ID`, of which there are none.
    TrustStore,
}

/// The part of a name that names a load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The load balancer's name; none for a name of another account, region or kind of load balancer.
    pub name: Option<String>,
    /// The load balancer's number.
    pub id: ResourceId,
}

impl Identity {
    /// The name of a load balancer.
    pub fn load_balancer(&self, name: &str, id: ResourceId) -> String {
        format!("{}:loadbalancer/net/{name}/{id}", self.prefix())
    }

    /// The name of a listener.
    pub fn listener(&self, load_balancer: &str, id: ResourceId, listener: ResourceId) -> String {
        format!("{}:listener/net/{load_balancer}/{id}/{listener}", self.prefix())
    }

    /// The name of a listener's default rule, whose number follows from the listener's.
    pub fn default_rule(&self, load_balancer: &str, id: ResourceId, listener: ResourceId) -> String {
        let rule = default_rule(listener);
        format!("{}:listener-rule/net/{load_balancer}/{id}/{listener}/{rule}", self.prefix())
    }

    /// The name of a target group.
    pub fn target_group(&self, name: &str, id: ResourceId) -> String {
        format!("{}:targetgroup/{name}/{id}", self.prefix())
    }

    /// The DNS name of a load balancer.
    pub fn dns_name(&self, load_balancer: &str, id: ResourceId) -> String {
        format!("{load_balancer}-{id}.elb.{}.{}", self.region, self.domain)
    }

    fn prefix(&self) -> String {
        format!("arn:{}:elasticloadbalancing:{}:{}", self.partition, self.region, self.account)
    }

    /// Reads a name; none if it is no name of this service.
    pub fn parse(&self, arn: &str) -> Option<Resource> {
        let mut parts = arn.splitn(6, ':');
        let (
            Some("arn"),
            Some(partition),
            Some("elasticloadbalancing"),
            Some(region),
            Some(account),
            Some(path),
        ) = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let is_ours = [partition, region, account] == [&self.partition, &self.region, &self.account];
        let load = |kind: &str, name: &str, id: &str| {
            let is_known = is_ours && kind == "net";
            let name = is_known.then(|| name.to_owned());
            matches!(kind, "net" | "app" | "gwy").then_some(Load { name, id: number(id)? })
        };
        match path.split('/').collect::<Vec<_>>()[..] {
            ["loadbalancer", kind, name, id] => Some(Resource::LoadBalancer(load(kind, name, id)?)),
            ["listener", kind, name, id, listener] => {
                Some(Resource::Listener(load(kind, name, id)?, number(listener)?))
            }
            ["listener-rule", kind, name, id, listener, rule] => {
                Some(Resource::Rule(load(kind, name, id)?, number(listener)?, number(rule)?))
            }
            // A name that no target group can have stands for one that is elsewhere.
            ["targetgroup", name, id] => Some(Resource::TargetGroup(
                if is_ours { name.to_owned() } else { String::new() },
                number(id)?,
            )),
            ["truststore", ..] => Some(Resource::TrustStore),
            _ => None,
        }
    }
}

/// The number of a listener's default rule.
pub fn default_rule(listener: ResourceId) -> ResourceId {
    ResourceId(listener.0.rotate_left(32) ^ 0x5bd1_e995_97f4_a7c5)
}

fn number(text: &str) -> Option<ResourceId> {
    let is_plain = text.len() == 16 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_plain.then(|| u64::from_str_radix(text, 16).ok().map(ResourceId))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let us = Identity::default();
        let (id, listener) = (ResourceId(1), ResourceId(0xabc));
        let load = Load { name: Some("web".to_owned()), id };
        let arn = us.load_balancer("web", id);
        assert_eq!(
            arn,
            "arn:aws:elasticloadbalancing:local:000000000000:loadbalancer/net/web/0000000000000001"
        );
        assert_eq!(us.parse(&arn), Some(Resource::LoadBalancer(load.clone())));
        let arn = us.listener("web", id, listener);
        assert_eq!(us.parse(&arn), Some(Resource::Listener(load.clone(), listener)));
        let arn = us.default_rule("web", id, listener);
        assert_eq!(us.parse(&arn), Some(Resource::Rule(load, listener, default_rule(listener))));
        let arn = us.target_group("web", id);
        assert_eq!(us.parse(&arn), Some(Resource::TargetGroup("web".to_owned(), id)));
    }

    #[test]
    fn names_of_others_are_names_of_nothing_here() {
        let us = Identity::default();
        let arn = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/net/web/0000000000000001";
        let Some(Resource::LoadBalancer(load)) = us.parse(arn) else { panic!("{arn}") };
        assert_eq!(load.name, None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let us = Identity::default();
        let good = us.listener("web", ResourceId(1), ResourceId(2));
        for end in 0..good.len() {
            assert!(!matches!(us.parse(&good[..end]), Some(Resource::Listener(..))), "{}", &good[..end]);
        }
        for arn in ["", "web", "arn:aws:s3:::bucket", &format!("{good}/x"), &good.replace("net", "nat")] {
            assert_eq!(us.parse(arn), None, "{arn}");
        }
    }
}
