# What Packer's own amazon-ebs builder makes of an AMI of the local cloud. All
# that tells it of the local cloud is custom_endpoint_ec2 and, since that is no
# endpoint for STS, skip_credential_validation.

variable "endpoint" { type = string }
variable "region" { type = string }
variable "source_ami" { type = string }
variable "ami_name" { type = string }
variable "ssh_port" { type = number }

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "= 1.3.4"
    }
  }
}

source "amazon-ebs" "stock" {
  custom_endpoint_ec2         = var.endpoint
  access_key                  = "local"
  secret_key                  = "local"
  skip_credential_validation  = true
  region                      = var.region
  source_ami                  = var.source_ami
  instance_type               = "t3.small"
  ssh_username                = "root"
  ssh_port                    = var.ssh_port
  ssh_timeout                 = "10m"
  ami_name                    = var.ami_name
  ami_description             = "Made by Packer's own builder"
  associate_public_ip_address = true

  temporary_iam_instance_profile_policy_document {
    Version = "2012-10-17"
    Statement {
      Effect   = "Allow"
      Action   = ["logs:*"]
      Resource = ["*"]
    }
  }
  launch_block_device_mappings {
    device_name           = "/dev/sdf"
    volume_size           = 1
    volume_type           = "gp3"
    delete_on_termination = true
  }
  run_tags        = { Name = "stock build" }
  run_volume_tags = { Name = "stock volume" }
  tags            = { Family = "stock", Source = "{{ .SourceAMI }}" }
  snapshot_tags   = { Family = "stock" }

  aws_polling {
    delay_seconds = 2
    max_attempts  = 300
  }
}

build {
  sources = ["source.amazon-ebs.stock"]

  provisioner "shell" {
    inline = [
      "test -b /dev/vdb",
      "echo 'written by the shell provisioner' >/etc/stock-build",
    ]
  }
}
