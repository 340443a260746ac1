"""One chapter of a load balancer's life by boto3: the endpoint's address, the chapter's name, its arguments.

create IPV4 IPV6 TARGET...    a load balancer with these VIPs whose targets are in service at the end
deregister TARGET leaves|gone until it drains, or until it is gone
weights TARGET WEB GREEN      a second target group with this target, and the weights of both
delete                        everything
"""

import sys

import boto3

FAST = {"Delay": 1, "MaxAttempts": 60}


def create(elb, ipv4, ipv6, *targets):
    mapping = {"SubnetId": "subnet-lab", "PrivateIPv4Address": ipv4, "IPv6Address": ipv6}
    load_balancer = elb.create_load_balancer(
        Name="web", Type="network", Scheme="internal", IpAddressType="dualstack", SubnetMappings=[mapping]
    )["LoadBalancers"][0]["LoadBalancerArn"]
    elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[load_balancer], WaiterConfig=FAST)
    group = make_group(elb, "web")
    elb.create_listener(
        LoadBalancerArn=load_balancer,
        Protocol="TCP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": target} for target in targets])
    elb.get_waiter("target_in_service").wait(TargetGroupArn=group, WaiterConfig=FAST)


def make_group(elb, name):
    group = elb.create_target_group(
        Name=name,
        Protocol="TCP",
        Port=80,
        VpcId="vpc-lab",
        TargetType="ip",
        HealthCheckProtocol="HTTP",
        HealthCheckPath="/healthz",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
    )["TargetGroups"][0]["TargetGroupArn"]
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "8"}
    elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
    return group


def arn_of(elb, name):
    return elb.describe_target_groups(Names=[name])["TargetGroups"][0]["TargetGroupArn"]


def state_of(elb, group, target):
    told = elb.describe_target_health(TargetGroupArn=group, Targets=[{"Id": target}])
    return told["TargetHealthDescriptions"][0]["TargetHealth"]


def deregister(elb, target, until):
    group = arn_of(elb, "web")
    if until == "leaves":
        elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": target}])
        health = state_of(elb, group, target)
        assert health["State"] == "draining", health
        assert health["Reason"] == "Target.DeregistrationInProgress", health
        return
    elb.get_waiter("target_deregistered").wait(TargetGroupArn=group, Targets=[{"Id": target}], WaiterConfig=FAST)
    health = state_of(elb, group, target)
    assert health["Reason"] == "Target.NotRegistered", health


def weights(elb, target, web, green):
    groups = elb.describe_target_groups()["TargetGroups"]
    if all(group["TargetGroupName"] != "green" for group in groups):
        group = make_group(elb, "green")
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": target}])
        assert state_of(elb, group, target)["State"] == "unused"
    load_balancer = elb.describe_load_balancers(Names=["web"])["LoadBalancers"][0]["LoadBalancerArn"]
    listener = elb.describe_listeners(LoadBalancerArn=load_balancer)["Listeners"][0]["ListenerArn"]
    tuples = [
        {"TargetGroupArn": arn_of(elb, name), "Weight": int(weight)} for name, weight in (("web", web), ("green", green))
    ]
    elb.modify_listener(
        ListenerArn=listener, DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": tuples}}]
    )
    elb.get_waiter("target_in_service").wait(TargetGroupArn=arn_of(elb, "green"), WaiterConfig=FAST)


def delete(elb):
    load_balancer = elb.describe_load_balancers(Names=["web"])["LoadBalancers"][0]["LoadBalancerArn"]
    for listener in elb.describe_listeners(LoadBalancerArn=load_balancer)["Listeners"]:
        elb.delete_listener(ListenerArn=listener["ListenerArn"])
    for name in ("web", "green"):
        elb.delete_target_group(TargetGroupArn=arn_of(elb, name))
    elb.delete_load_balancer(LoadBalancerArn=load_balancer)
    elb.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[load_balancer], WaiterConfig=FAST)


endpoint, name, *arguments = sys.argv[1:]
elb = boto3.client("elbv2", endpoint_url=endpoint, region_name="local")
{"create": create, "deregister": deregister, "weights": weights, "delete": delete}[name](elb, *arguments)
