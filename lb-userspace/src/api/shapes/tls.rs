//! Shapes of certificates and policies of TLS listeners.

use super::basics::{Marker, PageSize};
use super::declare::{enumerations, lists, scalars, structures, texts};
use super::listeners::ListenerArn;
use super::load_balancers::LoadBalancerTypeEnum;
use super::rules::ListOfString;

texts! {
    AlpnPolicyValue;
    CertificateArn;
    CipherName;
    Mode;
    SslPolicyName;
    SslProtocol;
    TrustStoreArn;
}

scalars! {
    CipherPriority(i32) Integer;
    DefaultFlag(bool) Boolean;
    IgnoreClientCertificateExpiry(bool) Boolean;
}

enumerations! {
    AdvertiseTrustStoreCaNamesEnum { On "on", Off "off", }
    TrustStoreAssociationStatusEnum { Active "active", Removed "removed", }
}

lists! {
    AlpnPolicyName of AlpnPolicyValue;
    CertificateList of Certificate;
    Ciphers of Cipher;
    SslPolicies of SslPolicy;
    SslPolicyNames of SslPolicyName;
    SslProtocols of SslProtocol;
}

structures! {
    AddListenerCertificatesInput {
        listener_arn "ListenerArn" ListenerArn required,
        certificates "Certificates" CertificateList required,
    }

    #[derive(Default)]
    AddListenerCertificatesOutput {
        certificates "Certificates" CertificateList,
    }

    #[derive(Default)]
    Certificate {
        certificate_arn "CertificateArn" CertificateArn,
        is_default "IsDefault" DefaultFlag,
    }

    #[derive(Default)]
    Cipher {
        name "Name" CipherName,
        priority "Priority" CipherPriority,
    }

    DescribeListenerCertificatesInput {
        listener_arn "ListenerArn" ListenerArn required,
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
    }

    #[derive(Default)]
    DescribeListenerCertificatesOutput {
        certificates "Certificates" CertificateList,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    DescribeSSLPoliciesInput {
        names "Names" SslPolicyNames,
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
        load_balancer_type "LoadBalancerType" LoadBalancerTypeEnum,
    }

    #[derive(Default)]
    DescribeSSLPoliciesOutput {
        ssl_policies "SslPolicies" SslPolicies,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    MutualAuthenticationAttributes {
        mode "Mode" Mode,
        trust_store_arn "TrustStoreArn" TrustStoreArn,
        ignore_client_certificate_expiry "IgnoreClientCertificateExpiry" IgnoreClientCertificateExpiry,
        trust_store_association_status "TrustStoreAssociationStatus" TrustStoreAssociationStatusEnum,
        advertise_trust_store_ca_names "AdvertiseTrustStoreCaNames" AdvertiseTrustStoreCaNamesEnum,
    }

    RemoveListenerCertificatesInput {
        listener_arn "ListenerArn" ListenerArn required,
        certificates "Certificates" CertificateList required,
    }

    #[derive(Default)]
    RemoveListenerCertificatesOutput {}

    #[derive(Default)]
    SslPolicy {
        ssl_protocols "SslProtocols" SslProtocols,
        ciphers "Ciphers" Ciphers,
        name "Name" SslPolicyName,
        supported_load_balancer_types "SupportedLoadBalancerTypes" ListOfString,
    }
}
