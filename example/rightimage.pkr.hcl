# Turns a base disk into a RightImage and publishes it as an AMI.
#
#   packer build -var base_disk=base.raw -var 'regions=["us-east-1"]' example/rightimage.pkr.hcl
#
# With AWS_ENDPOINT_URL set to a local cloud ("rightimage local") this needs no
# AWS account. Without regions the result is just a disk in output_directory.

packer {
  required_plugins {
    rightimage = {
      source  = "github.com/rightimage/rightimage"
      version = ">= 0.1.0"
    }
  }
}

variable "base_disk" {
  type        = string
  description = "Raw or qcow2 disk to start from; example/base makes one."
}

variable "output_directory" {
  type    = string
  default = "output-rightimage"
}

variable "regions" {
  type        = list(string)
  default     = []
  description = "Regions to publish the AMI in."
}

variable "platform_ca_file" {
  type        = string
  default     = ""
  description = "CA certificate of the platform when it is not a public one."
}

source "rightimage-disk" "debian" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = var.output_directory

  regions         = var.regions
  ami_name        = "rightimage-debian-12-{{ timestamp }}"
  ami_description = "Debian 12 RightImage"
  boot_mode       = "legacy-bios"
  tags = {
    Family = "rightimage-debian-12"
  }
}

build {
  sources = ["source.rightimage-disk.debian"]

  provisioner "shell" {
    inline = [
      "echo 'Made of a RightImage' > /etc/motd",
    ]
  }

  provisioner "rightimage" {
    cloud            = "ec2"
    platform_ca_file = var.platform_ca_file
  }
}
