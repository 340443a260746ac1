"""Creates, changes, reads and deletes everything of the API by boto3. Its argument is the endpoint's address.

Prints one line a chapter; any surprise is an exception.
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FAST = {"Delay": 1, "MaxAttempts": 3}


def client(endpoint):
    config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=5)
    return boto3.client("elbv2", endpoint_url=endpoint, region_name="local", config=config)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__} was not refused with {code}")


def attributes(pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def as_dict(pairs):
    return {pair["Key"]: pair["Value"] for pair in pairs}


def make_load_balancer(elb):
    arguments = dict(
        Name="web",
        Type="network",
        Scheme="internal",
        IpAddressType="dualstack",
        SubnetMappings=[{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.200.1.9"}, {"SubnetId": "subnet-b"}],
        SecurityGroups=["sg-web"],
        Tags=[{"Key": "team", "Value": "größe"}],
    )
    made = elb.create_load_balancer(**arguments)["LoadBalancers"][0]
    assert made["State"]["Code"] == "provisioning", made
    again = elb.create_load_balancer(**arguments)["LoadBalancers"][0]
    assert again["LoadBalancerArn"] == made["LoadBalancerArn"]
    refused("DuplicateLoadBalancerName", elb.create_load_balancer, **{**arguments, "Scheme": "internet-facing"})
    arn = made["LoadBalancerArn"]
    elb.get_waiter("load_balancer_exists").wait(Names=["web"], WaiterConfig=FAST)
    elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn], WaiterConfig=FAST)
    told = elb.describe_load_balancers(Names=["web"])["LoadBalancers"][0]
    assert told["State"]["Code"] == "active" and told["Type"] == "network", told
    zones = {zone["ZoneName"]: zone["LoadBalancerAddresses"][0] for zone in told["AvailabilityZones"]}
    assert zones["a"]["PrivateIPv4Address"] == "10.200.1.9" and "IPv6Address" in zones["a"], zones
    assert told["CreatedTime"].year >= 2024 and told["SecurityGroups"] == ["sg-web"], told
    return arn


def change_load_balancer(elb, arn):
    wanted = {
        "access_logs.s3.enabled": "false",
        "dns_record.client_routing_policy": "any_availability_zone",
        "load_balancing.cross_zone.enabled": "true",
        "deletion_protection.enabled": "true",
        "zonal_shift.config.enabled": "false",
    }
    changed = elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes(wanted))
    told = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    assert wanted.items() <= as_dict(told).items() and changed["Attributes"] == told
    refused("OperationNotPermitted", elb.delete_load_balancer, LoadBalancerArn=arn)
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=arn, Attributes=attributes({"deletion_protection.enabled": "false"})
    )
    groups = elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=["sg-inside", "sg-web"])
    assert groups["SecurityGroupIds"] == ["sg-inside", "sg-web"], groups
    before = {zone["ZoneName"]: zone for zone in describe_one(elb, arn)["AvailabilityZones"]}
    zones = elb.set_subnets(LoadBalancerArn=arn, Subnets=["subnet-a"])["AvailabilityZones"]
    assert zones == [before["a"]], zones
    assert elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    elb.describe_capacity_reservation(LoadBalancerArn=arn)


def describe_one(elb, arn):
    return elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]


def make_target_group(elb, name, **more):
    arguments = dict(
        Name=name,
        Protocol="TCP",
        Port=80,
        VpcId="vpc-1",
        TargetType="ip",
        HealthCheckProtocol="HTTP",
        HealthCheckPath="/healthz",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        Matcher={"HttpCode": "200-299"},
    )
    made = elb.create_target_group(**{**arguments, **more})["TargetGroups"][0]
    assert made["TargetGroupName"] == name and made["LoadBalancerArns"] == [], made
    return made["TargetGroupArn"]


def change_target_group(elb, arn):
    changed = elb.modify_target_group(TargetGroupArn=arn, HealthCheckPath="/", HealthyThresholdCount=3)
    assert changed["TargetGroups"][0]["HealthyThresholdCount"] == 3, changed
    wanted = {"deregistration_delay.timeout_seconds": "1", "stickiness.enabled": "true", "stickiness.type": "source_ip"}
    elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes(wanted))
    told = as_dict(elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"])
    assert wanted.items() <= told.items(), told


def listen(elb, load_balancer, first, second):
    action = {"Type": "forward", "TargetGroupArn": first, "Order": 1}
    made = elb.create_listener(
        LoadBalancerArn=load_balancer, Protocol="TCP", Port=80, DefaultActions=[action], Tags=[{"Key": "k"}]
    )["Listeners"][0]
    arn = made["ListenerArn"]
    groups = [{"TargetGroupArn": first, "Weight": 90}, {"TargetGroupArn": second, "Weight": 10}]
    both = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
    message = refused("InvalidConfigurationRequest", elb.modify_listener, ListenerArn=arn, DefaultActions=both)
    assert "'stickiness.enabled'" in message, message
    sticky = attributes({"stickiness.enabled": "true"})
    elb.modify_target_group_attributes(TargetGroupArn=second, Attributes=sticky)
    changed = elb.modify_listener(ListenerArn=arn, DefaultActions=both)["Listeners"][0]
    assert changed["DefaultActions"][0]["ForwardConfig"]["TargetGroups"] == groups, changed
    elb.modify_listener_attributes(ListenerArn=arn, Attributes=attributes({"tcp.idle_timeout.seconds": "60"}))
    told = elb.describe_listener_attributes(ListenerArn=arn)["Attributes"]
    assert as_dict(told) == {"tcp.idle_timeout.seconds": "60"}, told
    assert elb.describe_listeners(LoadBalancerArn=load_balancer)["Listeners"][0]["ListenerArn"] == arn
    rules = elb.describe_rules(ListenerArn=arn)["Rules"]
    assert [rule["IsDefault"] for rule in rules] == [True], rules
    assert elb.describe_listener_certificates(ListenerArn=arn)["Certificates"] == []
    message = refused("ResourceInUse", elb.delete_target_group, TargetGroupArn=first)
    assert "is currently in use by a listener or a rule" in message, message
    return arn


def serve(elb, group):
    targets = [{"Id": "10.0.1.1"}, {"Id": "10.9.0.2", "AvailabilityZone": "all"}]
    elb.register_targets(TargetGroupArn=group, Targets=targets)
    elb.register_targets(TargetGroupArn=group, Targets=targets)
    health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    states = {told["Target"]["Id"]: told["TargetHealth"] for told in health}
    assert states["10.0.1.1"]["State"] == "initial", states
    assert states["10.0.1.1"]["Reason"] == "Elb.RegistrationInProgress", states
    elb.deregister_targets(TargetGroupArn=group, Targets=targets)
    health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert {told["TargetHealth"]["State"] for told in health} == {"draining"}, health
    waiter = elb.get_waiter("target_deregistered")
    waiter.wait(TargetGroupArn=group, Targets=targets, WaiterConfig=FAST)


def tag(elb, arns):
    elb.add_tags(ResourceArns=arns, Tags=[{"Key": "env", "Value": "a<b&c".replace("<", "=").replace("&", "@")}])
    elb.remove_tags(ResourceArns=arns[:1], TagKeys=["env", "not-there"])
    told = {each["ResourceArn"]: as_dict(each["Tags"]) for each in elb.describe_tags(ResourceArns=arns)["TagDescriptions"]}
    assert told[arns[0]] == {"team": "größe"} and told[arns[1]]["env"] == "a=b@c", told
    refused("DuplicateTagKeys", elb.add_tags, ResourceArns=arns, Tags=[{"Key": "x"}, {"Key": "x"}])


def page(elb):
    for number in range(5):
        make_target_group(elb, f"page-{number}")
    pages = elb.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 2})
    names = [group["TargetGroupName"] for page in pages for group in page["TargetGroups"]]
    assert names == sorted(names) and len(names) == 7, names
    limits = elb.describe_account_limits()["Limits"]
    assert {"Name": "network-load-balancers", "Max": "50"} in limits, limits
    for number in range(5):
        arn = elb.describe_target_groups(Names=[f"page-{number}"])["TargetGroups"][0]["TargetGroupArn"]
        elb.delete_target_group(TargetGroupArn=arn)


def refuse_what_is_not_there(elb, load_balancer, listener):
    refused(
        "InvalidConfigurationRequest", elb.create_load_balancer, Name="app", Subnets=["subnet-a", "subnet-b"]
    )
    refused("UnsupportedProtocol", elb.modify_listener, ListenerArn=listener, Protocol="TLS")
    refused("OperationNotPermitted", elb.describe_trust_stores)
    assert elb.describe_ssl_policies()["SslPolicies"] == []
    reserve = {"CapacityUnits": 100}
    refused(
        "OperationNotPermitted",
        elb.modify_capacity_reservation,
        LoadBalancerArn=load_balancer,
        MinimumLoadBalancerCapacity=reserve,
    )


def delete(elb, load_balancer, listener, groups):
    elb.delete_listener(ListenerArn=listener)
    refused("ListenerNotFound", elb.describe_listeners, ListenerArns=[listener])
    elb.delete_load_balancer(LoadBalancerArn=load_balancer)
    elb.delete_load_balancer(LoadBalancerArn=load_balancer)
    elb.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[load_balancer], WaiterConfig=FAST)
    for group in groups:
        elb.delete_target_group(TargetGroupArn=group)
    assert elb.describe_target_groups()["TargetGroups"] == []


def main():
    elb = client(sys.argv[1])
    load_balancer = make_load_balancer(elb)
    change_load_balancer(elb, load_balancer)
    print("load balancer: made and changed")
    first, second = make_target_group(elb, "first"), make_target_group(elb, "second")
    change_target_group(elb, first)
    listener = listen(elb, load_balancer, first, second)
    print("target groups and listener: made and changed")
    serve(elb, first)
    print("targets: registered and deregistered")
    tag(elb, [load_balancer, first, listener])
    page(elb)
    refuse_what_is_not_there(elb, load_balancer, listener)
    print("tags, pages, refusals")
    delete(elb, load_balancer, listener, [first, second])
    print("everything deleted")


main()
