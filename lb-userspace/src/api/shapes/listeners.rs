//! Shapes of listeners and their attributes.

use super::actions::Actions;
use super::basics::{Marker, PageSize, Port, ProtocolEnum};
use super::declare::{lists, structures, texts};
use super::load_balancers::LoadBalancerArn;
use super::patterns::ATTRIBUTE_KEY;
use super::tags::TagList;
use super::tls::{AlpnPolicyName, CertificateList, MutualAuthenticationAttributes, SslPolicyName};

texts! {
    ListenerArn;
    ListenerAttributeKey: at_most(256), like(&ATTRIBUTE_KEY);
    ListenerAttributeValue;
}

lists! {
    ListenerArns of ListenerArn;
    ListenerAttributes of ListenerAttribute;
    Listeners of Listener;
}

structures! {
    CreateListenerInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn required,
        protocol "Protocol" ProtocolEnum,
        port "Port" Port,
        ssl_policy "SslPolicy" SslPolicyName,
        certificates "Certificates" CertificateList,
        default_actions "DefaultActions" Actions required,
        alpn_policy "AlpnPolicy" AlpnPolicyName,
        tags "Tags" TagList,
        mutual_authentication "MutualAuthentication" MutualAuthenticationAttributes,
    }

    #[derive(Default)]
    CreateListenerOutput {
        listeners "Listeners" Listeners,
    }

    DeleteListenerInput {
        listener_arn "ListenerArn" ListenerArn required,
    }

    #[derive(Default)]
    DeleteListenerOutput {}

    DescribeListenerAttributesInput {
        listener_arn "ListenerArn" ListenerArn required,
    }

    #[derive(Default)]
    DescribeListenerAttributesOutput {
        attributes "Attributes" ListenerAttributes,
    }

    #[derive(Default)]
    DescribeListenersInput {
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn,
        listener_arns "ListenerArns" ListenerArns,
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
    }

    #[derive(Default)]
    DescribeListenersOutput {
        listeners "Listeners" Listeners,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    Listener {
        listener_arn "ListenerArn" ListenerArn,
        load_balancer_arn "LoadBalancerArn" LoadBalancerArn,
        port "Port" Port,
        protocol "Protocol" ProtocolEnum,
        certificates "Certificates" CertificateList,
        ssl_policy "SslPolicy" SslPolicyName,
        default_actions "DefaultActions" Actions,
        alpn_policy "AlpnPolicy" AlpnPolicyName,
        mutual_authentication "MutualAuthentication" MutualAuthenticationAttributes,
    }

    #[derive(Default)]
    ListenerAttribute {
        key "Key" ListenerAttributeKey,
        value "Value" ListenerAttributeValue,
    }

    ModifyListenerAttributesInput {
        listener_arn "ListenerArn" ListenerArn required,
        attributes "Attributes" ListenerAttributes required,
    }

    #[derive(Default)]
    ModifyListenerAttributesOutput {
        attributes "Attributes" ListenerAttributes,
    }

    ModifyListenerInput {
        listener_arn "ListenerArn" ListenerArn required,
        port "Port" Port,
        protocol "Protocol" ProtocolEnum,
        ssl_policy "SslPolicy" SslPolicyName,
        certificates "Certificates" CertificateList,
        default_actions "DefaultActions" Actions,
        alpn_policy "AlpnPolicy" AlpnPolicyName,
        mutual_authentication "MutualAuthentication" MutualAuthenticationAttributes,
    }

    #[derive(Default)]
    ModifyListenerOutput {
        listeners "Listeners" Listeners,
    }
}
