# Makes a RightImage of an AMI, on a build machine, and publishes it.
#
#   packer build -var source_ami=ami-0123456789abcdef0 -var region=us-east-1 example/rightimage-ebs.pkr.hcl
#
# Without source_ami it starts from Debian's own newest image. With
# AWS_ENDPOINT_URL set to a local cloud ("rightimage local") it needs no AWS
# account.

packer {
  required_plugins {
    rightimage = {
      source  = "github.com/rightimage/rightimage"
      version = ">= 0.1.0"
    }
  }
}

variable "source_ami" {
  type        = string
  default     = ""
  description = "AMI to start from; empty for Debian's newest."
}

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "copy_to" {
  type        = list(string)
  default     = []
  description = "Further regions that get the AMI."
}

variable "ssh_username" {
  type    = string
  default = "admin"
}

variable "platform_ca_file" {
  type        = string
  default     = ""
  description = "CA certificate of the platform when it is not a public one."
}

source "rightimage-ebs" "debian" {
  region        = var.region
  regions       = var.copy_to
  instance_type = "t3.small"
  ssh_username  = var.ssh_username
  ssh_timeout   = "10m"

  source_ami = var.source_ami
  source_ami_filter {
    filters     = var.source_ami == "" ? { name = "debian-12-amd64-*", architecture = "x86_64" } : {}
    owners      = var.source_ami == "" ? ["136693071363"] : [] # Debian's account
    most_recent = var.source_ami == ""
  }

  ami_name        = "rightimage-debian-12-{{ timestamp }}"
  ami_description = "Debian 12 RightImage, made of {{ .SourceAMI }}"
  tags = {
    Family = "rightimage-debian-12"
  }
}

build {
  sources = ["source.rightimage-ebs.debian"]

  provisioner "shell" {
    inline = [
      "echo 'Made of ${build.SourceAMI} on ${build.InstanceID}' | ${var.ssh_username == "root" ? "" : "sudo "}tee /etc/motd",
    ]
  }

  provisioner "rightimage" {
    cloud            = "ec2"
    platform_ca_file = var.platform_ca_file
  }
}
