//! Certificates and policies of TLS listeners, which are not served yet: there are none.

use super::context::Context;
use super::transaction::Transaction;
use crate::api::protocol::{ApiError, Code};
use crate::api::shapes::{
    AddListenerCertificatesInput, AddListenerCertificatesOutput, DescribeListenerCertificatesInput,
    DescribeListenerCertificatesOutput, DescribeSSLPoliciesInput, DescribeSSLPoliciesOutput,
    RemoveListenerCertificatesInput, RemoveListenerCertificatesOutput,
};

pub(super) fn add(
    state: &mut Transaction,
    input: &AddListenerCertificatesInput,
    context: &Context,
) -> Result<AddListenerCertificatesOutput, ApiError> {
    state.listener(context.identity, &input.listener_arn)?;
    let first = input.certificates.iter().find_map(|certificate| certificate.certificate_arn.as_deref());
    let Some(arn) = first else {
        return Err(Code::ValidationError.because("At least one certificate ARN must be specified"));
    };
    Err(Code::CertificateNotFound
        .because(format!("Certificate '{arn}' not found: listeners with certificates are not supported yet")))
}

pub(super) fn remove(
    state: &mut Transaction,
    input: &RemoveListenerCertificatesInput,
    context: &Context,
) -> Result<RemoveListenerCertificatesOutput, ApiError> {
    state.listener(context.identity, &input.listener_arn)?;
    Err(Code::OperationNotPermitted.because("The listener has no certificates: they are not supported yet"))
}

pub(super) fn describe(
    state: &mut Transaction,
    input: &DescribeListenerCertificatesInput,
    context: &Context,
) -> Result<DescribeListenerCertificatesOutput, ApiError> {
    state.listener(context.identity, &input.listener_arn)?;
    Ok(DescribeListenerCertificatesOutput { certificates: Some([].into_iter().collect()), next_marker: None })
}

pub(super) fn describe_policies(
    _: &mut Transaction,
    input: &DescribeSSLPoliciesInput,
    _: &Context,
) -> Result<DescribeSSLPoliciesOutput, ApiError> {
    match input.names.as_deref().and_then(|names| names.first()) {
        Some(name) => Err(Code::SSLPolicyNotFound
            .because(format!("SSL policy '{}' not found: TLS listeners are not supported yet", &**name))),
        None => {
            Ok(DescribeSSLPoliciesOutput { ssl_policies: Some([].into_iter().collect()), next_marker: None })
        }
    }
}
