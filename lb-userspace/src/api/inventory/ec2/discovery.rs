//! Asks for what is used: the subnets that the file names, and their VPCs with what is in them.

use std::collections::BTreeSet;

use anyhow::{anyhow, bail};

use super::super::RawInventory;
use super::super::read::{RawSubnet, RawVpc};
use super::answers::{self, Described, Group, Member};
use super::client::Client;
use super::configuration::Configuration;
use super::permissions::resolved;

/// The most pages of one list: 100,000 records of the largest pages.
const PAGES: usize = 200;

/// Values of one filter; EC2 takes 200.
const VALUES: usize = 200;

/// What the endpoint says, and what of it can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Discovered {
    pub(super) network: RawInventory,
    pub(super) remarks: Vec<String>,
}

/// Asks for everything. `known` are VPCs that were there before.
///
/// # Errors
/// When something is not answered, or none of the subnets is there: then it is another network that the endpoint
/// speaks of.
pub(super) async fn discover(
    configuration: &Configuration,
    known: BTreeSet<String>,
) -> anyhow::Result<Discovered> {
    let client = Client::new(configuration)?;
    let wanted: Vec<String> = configuration.subnets.keys().cloned().collect();
    let mut subnets: Vec<RawSubnet> = all(&client, "subnet-id", &wanted).await?;
    subnets.retain(|subnet| configuration.subnets.contains_key(&subnet.id));
    if subnets.is_empty() {
        bail!(
            "{} knows none of the subnets of inventory.ec2.subnets in the region {}: {}",
            configuration.endpoint,
            configuration.region,
            wanted.join(", ")
        );
    }
    let used: BTreeSet<String> = subnets.iter().map(|subnet| subnet.vpc.clone()).chain(known).collect();
    let ids: Vec<String> = used.iter().cloned().collect();
    let mut vpcs: Vec<RawVpc> = all(&client, "vpc-id", &ids).await?;
    vpcs.retain(|vpc| used.contains(&vpc.id));
    let mut groups: Vec<Group> = all(&client, "vpc-id", &ids).await?;
    groups.retain(|group| used.contains(&group.vpc));
    let mut members: Vec<Member> = all(&client, "vpc-id", &ids).await?;
    members.retain(|member| used.contains(&member.instance.vpc));
    let mut remarks = Vec::new();
    let security_groups = resolved(groups, &members, &mut remarks);
    let instances = members.into_iter().map(|member| member.instance).collect();
    let network = RawInventory { vpcs, subnets, security_groups, instances, ..RawInventory::default() };
    Ok(Discovered { network, remarks })
}

/// All records of which a property is one of these, page by page.
async fn all<T: Described>(client: &Client<'_>, property: &str, values: &[String]) -> anyhow::Result<Vec<T>> {
    let mut records = Vec::new();
    for some in values.chunks(VALUES) {
        let mut next = None;
        for page in 1.. {
            let parameters = parameters(property, some, client.page_size(), next.as_deref());
            let body = client.ask(T::ACTION, &parameters).await?;
            let answered = answers::page::<T>(&body);
            let answered =
                answered.map_err(|why| anyhow!("{} at {}: {why}", T::ACTION, client.endpoint()))?;
            records.extend(answered.records);
            if answered.next.is_none() {
                break;
            }
            if answered.next == next || page == PAGES {
                bail!("{} at {}: its pages have no end", T::ACTION, client.endpoint());
            }
            next = answered.next;
        }
    }
    Ok(records)
}

fn parameters(
    property: &str,
    values: &[String],
    page_size: Option<u16>,
    next: Option<&str>,
) -> Vec<(String, String)> {
    let mut parameters = vec![("Filter.1.Name".to_owned(), property.to_owned())];
    let numbered = values.iter().enumerate();
    parameters.extend(numbered.map(|(at, value)| (format!("Filter.1.Value.{}", at + 1), value.clone())));
    parameters.extend(page_size.map(|size| ("MaxResults".to_owned(), size.to_string())));
    parameters.extend(next.map(|token| ("NextToken".to_owned(), token.to_owned())));
    parameters
}
