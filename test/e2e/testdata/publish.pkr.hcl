# Both builders, three regions: one AMI for the public, one encrypted and shared
# with a few accounts.

variable "base_disk" { type = string }
variable "source_ami" { type = string }
variable "output" { type = string }
variable "deprecate_at" { type = string }

packer {
  required_plugins {
    rightimage = {
      source  = "github.com/rightimage/rightimage"
      version = ">= 0.1.0"
    }
  }
}

locals {
  regions = ["us-east-1", "eu-west-1", "ap-southeast-2"]
}

source "rightimage-disk" "public" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = "${var.output}/disk"
  regions          = local.regions

  ami_name        = "public"
  ami_description = "Made of a disk for {{ .Architecture }}"
  boot_mode       = "legacy-bios"
  tags            = { Family = "public", Arch = "{{ .Architecture }}" }
  snapshot_tags   = { Part = "root" }
  ami_groups      = ["all"]
  deprecate_after = "90d"
  family          = "public"
  ssm_parameter   = "/images/public"
  catalogue_file  = "${var.output}/catalogue.json"
  boot_test {
    enabled = false # this cloud boots no machines
  }
  aws_polling {
    delay_seconds = 1
  }
}

source "rightimage-ebs" "encrypted" {
  region        = local.regions[0]
  regions       = local.regions
  source_ami    = var.source_ami
  instance_type = "t3.small"
  communicator  = "none"

  ami_name           = "encrypted"
  ami_description    = "Made of {{ .SourceAMI }}"
  tags               = { Family = "encrypted", Source = "{{ .SourceAMI }}" }
  region_kms_key_ids = { "us-east-1" = "alias/images", "eu-west-1" = "alias/images-eu", "ap-southeast-2" = "alias/images-ap" }
  ami_users          = ["123456789012"]
  ami_org_arns       = ["arn:aws:organizations::123456789012:organization/o-1234567890"]
  snapshot_users     = ["123456789012"]
  deprecate_at       = var.deprecate_at
  deregistration_protection {
    enabled = true
  }
  catalogue_file = "${var.output}/catalogue.json"
  aws_polling {
    delay_seconds = 1
  }
}

build {
  sources = ["source.rightimage-disk.public", "source.rightimage-ebs.encrypted"]
}
