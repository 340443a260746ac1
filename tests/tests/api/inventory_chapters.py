"""One chapter of a network that an EC2-compatible endpoint tells: the endpoint's address, the chapter, its arguments.

network ADDRESS...   a VPC with instances at these addresses, and keys that the endpoint lets in from then on; tells all
stop INSTANCE        an instance stops
start INSTANCE       it runs again
close GROUP          a security group lets nobody in
open GROUP           everybody, to port 80
serve ELB SUBNET VPC GROUP VIP INSTANCE...   a load balancer of the API at ELB with these instances as targets
"""

import json
import sys
import urllib.request

import boto3

POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:%s","Resource":"*"}]}'
EVERYBODY = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]


def network(ec2, *addresses):
    vpc = ec2.create_vpc(CidrBlock="10.203.0.0/24")["Vpc"]["VpcId"]
    place = {"VpcId": vpc, "CidrBlock": "10.203.0.0/24", "AvailabilityZone": "us-east-1a"}
    subnet = ec2.create_subnet(**place)["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=EVERYBODY)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    told = {"vpc": vpc, "subnet": subnet, "group": group, "instances": []}
    # More than one page of the smallest pages, the targets last.
    others = [f"10.203.0.{number}" for number in range(200, 206)]
    for address in [*others, *addresses]:
        where = {"SubnetId": subnet, "PrivateIpAddress": address}
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **where)["Instances"][0]
        if address in addresses:
            told["instances"].append(made["InstanceId"])
    told["reader"], told["owner"] = key("reader", "Describe*"), key("owner", "*")
    asked = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
    urllib.request.urlopen(asked).close()
    print(json.dumps(told))


def key(name, actions):
    iam = boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=POLICY % actions)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"]}


def serve(_, url, subnet, vpc, group, vip, *instances):
    elb = boto3.client("elbv2", endpoint_url=url, region_name="local")
    made = elb.create_load_balancer(
        Name="web",
        Type="network",
        Scheme="internal",
        SecurityGroups=[group],
        SubnetMappings=[{"SubnetId": subnet, "PrivateIPv4Address": vip}],
    )["LoadBalancers"][0]
    check = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2}
    targets = elb.create_target_group(
        Name="web", Protocol="TCP", Port=80, VpcId=vpc, TargetType="instance", **check
    )["TargetGroups"][0]["TargetGroupArn"]
    forward = [{"Type": "forward", "TargetGroupArn": targets}]
    elb.create_listener(LoadBalancerArn=made["LoadBalancerArn"], Protocol="TCP", Port=80, DefaultActions=forward)
    elb.register_targets(TargetGroupArn=targets, Targets=[{"Id": instance} for instance in instances])
    elb.get_waiter("target_in_service").wait(TargetGroupArn=targets, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


CHAPTERS = {
    "network": network,
    "serve": serve,
    "stop": lambda ec2, instance: ec2.stop_instances(InstanceIds=[instance]),
    "start": lambda ec2, instance: ec2.start_instances(InstanceIds=[instance]),
    "close": lambda ec2, group: ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=EVERYBODY),
    "open": lambda ec2, group: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=EVERYBODY),
}

endpoint, name, *arguments = sys.argv[1:]
CHAPTERS[name](boto3.client("ec2", endpoint_url=endpoint, region_name="us-east-1"), *arguments)
