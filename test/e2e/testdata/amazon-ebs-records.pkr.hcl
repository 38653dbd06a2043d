# The parts of Packer's own amazon-ebs builder that need no machine: spot
# instances through a fleet, filters, encrypted copies in other regions, sharing.

variable "endpoint" { type = string }
variable "source_ami" { type = string }
variable "deprecate_at" { type = string }
variable "spot" {
  type    = bool
  default = true
}

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "= 1.3.4"
    }
  }
}

source "amazon-ebs" "spot" {
  custom_endpoint_ec2        = var.endpoint
  access_key                 = "local"
  secret_key                 = "local"
  skip_credential_validation = true
  region                     = "us-east-1"
  communicator               = "none"

  source_ami_filter {
    filters     = { name = "records-*", virtualization-type = "hvm", root-device-type = "ebs" }
    owners      = ["self"]
    most_recent = true
  }
  spot_price          = "auto"
  spot_instance_types = ["t4g.small", "t3.small"]
  spot_tags           = { of = "spot request" }
  fleet_tags          = { of = "fleet" }
  run_tags            = { of = "instance" }
  run_volume_tags     = { of = "volume" }
  user_data           = "hello"

  vpc_filter {
    filters = { isDefault = "true" }
  }
  subnet_filter {
    filters   = { "availability-zone" = "us-east-1b" }
    most_free = true
  }
  associate_public_ip_address = true
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  ami_name     = "stock-spot"
  ami_regions  = ["us-east-1", "eu-west-1"]
  encrypt_boot = true
  deprecate_at = var.deprecate_at
  imds_support = "v2.0"
  deregistration_protection {
    enabled       = true
    with_cooldown = false
  }
  aws_polling {
    delay_seconds = 1
    max_attempts  = 60
  }
}

source "amazon-ebs" "plain" {
  custom_endpoint_ec2        = var.endpoint
  access_key                 = "local"
  secret_key                 = "local"
  skip_credential_validation = true
  region                     = "us-east-1"
  communicator               = "none"
  source_ami                 = var.source_ami
  instance_type              = "t3.small"
  ena_support                = true

  security_group_filter {
    filters = { "group-name" = "default" }
  }
  launch_block_device_mappings {
    device_name           = "/dev/sdg"
    volume_size           = 2
    encrypted             = true
    kms_key_id            = "alias/packer" # what the key of AWS itself encrypts cannot be shared
    delete_on_termination = true
  }
  ami_block_device_mappings {
    device_name  = "/dev/sdh"
    virtual_name = "ephemeral0"
  }
  ami_name              = "stock-plain"
  ami_users             = ["123456789012"]
  force_deregister      = true
  force_delete_snapshot = true
  aws_polling {
    delay_seconds = 1
    max_attempts  = 60
  }
}

build {
  sources = var.spot ? ["source.amazon-ebs.spot", "source.amazon-ebs.plain"] : ["source.amazon-ebs.plain"]
}
