//! Shapes of listener rules.

use super::actions::Actions;
use super::basics::{Marker, PageSize};
use super::declare::{enumerations, lists, scalars, structures, texts};
use super::listeners::ListenerArn;
use super::tags::TagList;

texts! {
    ConditionFieldName: at_most(64);
    HttpHeaderConditionName;
    RuleArn;
    PriorityText;
    StringValue;
}

scalars! {
    IsDefault(bool) Boolean;
    ResetTransforms(bool) Boolean;
    RulePriority(i32) Integer: at_least(1), at_most(50000);
}

enumerations! {
    SourceIpAddressTypeEnum { Ipv4 "ipv4", Ipv6 "ipv6", }
    TransformTypeEnum { HostHeaderRewrite "host-header-rewrite", UrlRewrite "url-rewrite", }
}

lists! {
    ListOfString of StringValue;
    QueryStringKeyValuePairList of QueryStringKeyValuePair;
    RewriteConfigList of RewriteConfig;
    RuleArns of RuleArn;
    RuleConditionList of RuleCondition;
    RulePriorityList of RulePriorityPair;
    RuleTransformList of RuleTransform;
    Rules of Rule;
}

structures! {
    CreateRuleInput {
        listener_arn "ListenerArn" ListenerArn required,
        conditions "Conditions" RuleConditionList required,
        priority "Priority" RulePriority required,
        actions "Actions" Actions required,
        tags "Tags" TagList,
        transforms "Transforms" RuleTransformList,
    }

    #[derive(Default)]
    CreateRuleOutput {
        rules "Rules" Rules,
    }

    DeleteRuleInput {
        rule_arn "RuleArn" RuleArn required,
    }

    #[derive(Default)]
    DeleteRuleOutput {}

    #[derive(Default)]
    DescribeRulesInput {
        listener_arn "ListenerArn" ListenerArn,
        rule_arns "RuleArns" RuleArns,
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
    }

    #[derive(Default)]
    DescribeRulesOutput {
        rules "Rules" Rules,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    HostHeaderConditionConfig {
        values "Values" ListOfString,
        regex_values "RegexValues" ListOfString,
    }

    #[derive(Default)]
    HostHeaderRewriteConfig {
        rewrites "Rewrites" RewriteConfigList,
    }

    #[derive(Default)]
    HttpHeaderConditionConfig {
        http_header_name "HttpHeaderName" HttpHeaderConditionName,
        values "Values" ListOfString,
        regex_values "RegexValues" ListOfString,
    }

    #[derive(Default)]
    HttpRequestMethodConditionConfig {
        values "Values" ListOfString,
    }

    ModifyRuleInput {
        rule_arn "RuleArn" RuleArn required,
        conditions "Conditions" RuleConditionList,
        actions "Actions" Actions,
        transforms "Transforms" RuleTransformList,
        reset_transforms "ResetTransforms" ResetTransforms,
    }

    #[derive(Default)]
    ModifyRuleOutput {
        rules "Rules" Rules,
    }

    #[derive(Default)]
    PathPatternConditionConfig {
        values "Values" ListOfString,
        regex_values "RegexValues" ListOfString,
    }

    #[derive(Default)]
    QueryStringConditionConfig {
        values "Values" QueryStringKeyValuePairList,
    }

    #[derive(Default)]
    QueryStringKeyValuePair {
        key "Key" StringValue,
        value "Value" StringValue,
    }

    RewriteConfig {
        regex "Regex" StringValue required,
        replace "Replace" StringValue required,
    }

    #[derive(Default)]
    Rule {
        rule_arn "RuleArn" RuleArn,
        priority "Priority" PriorityText,
        conditions "Conditions" RuleConditionList,
        actions "Actions" Actions,
        is_default "IsDefault" IsDefault,
        transforms "Transforms" RuleTransformList,
    }

    #[derive(Default)]
    RuleCondition {
        field "Field" ConditionFieldName,
        values "Values" ListOfString,
        host_header_config "HostHeaderConfig" HostHeaderConditionConfig,
        path_pattern_config "PathPatternConfig" PathPatternConditionConfig,
        http_header_config "HttpHeaderConfig" HttpHeaderConditionConfig,
        query_string_config "QueryStringConfig" QueryStringConditionConfig,
        http_request_method_config "HttpRequestMethodConfig" HttpRequestMethodConditionConfig,
        source_ip_config "SourceIpConfig" SourceIpConditionConfig,
        regex_values "RegexValues" ListOfString,
    }

    #[derive(Default)]
    RulePriorityPair {
        rule_arn "RuleArn" RuleArn,
        priority "Priority" RulePriority,
    }

    RuleTransform {
        kind "Type" TransformTypeEnum required,
        host_header_rewrite_config "HostHeaderRewriteConfig" HostHeaderRewriteConfig,
        url_rewrite_config "UrlRewriteConfig" UrlRewriteConfig,
    }

    SetRulePrioritiesInput {
        rule_priorities "RulePriorities" RulePriorityList required,
    }

    #[derive(Default)]
    SetRulePrioritiesOutput {
        rules "Rules" Rules,
    }

    #[derive(Default)]
    SourceIpConditionConfig {
        values "Values" ListOfString,
        ip_address_type "IpAddressType" SourceIpAddressTypeEnum,
    }

    #[derive(Default)]
    UrlRewriteConfig {
        rewrites "Rewrites" RewriteConfigList,
    }
}
