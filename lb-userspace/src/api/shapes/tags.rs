//! Shapes of tags.

use super::declare::{lists, structures, texts};
use super::patterns::TAG;

texts! {
    ResourceArn;
    TagKey: at_least(1), at_most(128), like(&TAG);
    TagValue: at_least(0), at_most(256), like(&TAG);
}

lists! {
    ResourceArns of ResourceArn;
    TagDescriptions of TagDescription;
    TagKeys of TagKey;
    TagList of Tag: at_least(1);
}

structures! {
    AddTagsInput {
        resource_arns "ResourceArns" ResourceArns required,
        tags "Tags" TagList required,
    }

    #[derive(Default)]
    AddTagsOutput {}

    DescribeTagsInput {
        resource_arns "ResourceArns" ResourceArns required,
    }

    #[derive(Default)]
    DescribeTagsOutput {
        tag_descriptions "TagDescriptions" TagDescriptions,
    }

    RemoveTagsInput {
        resource_arns "ResourceArns" ResourceArns required,
        tag_keys "TagKeys" TagKeys required,
    }

    #[derive(Default)]
    RemoveTagsOutput {}

    Tag {
        key "Key" TagKey required,
        value "Value" TagValue,
    }

    #[derive(Default)]
    TagDescription {
        resource_arn "ResourceArn" ResourceArn,
        tags "Tags" TagList,
    }
}
