# An image that holds no package: instances get RightLink from a mirror.

packer {
  required_plugins {
    rightimage = {
      source  = "github.com/rightimage/rightimage"
      version = ">= 0.1.0"
    }
  }
}

variable "base_disk" { type = string }
variable "output_directory" { type = string }
variable "region" { type = string }
variable "platform_ca_file" { type = string }
variable "root_file" { type = string }

source "rightimage-disk" "mirror" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = var.output_directory
  regions          = [var.region]
  ami_name         = "rightimage-mirror-{{ timestamp }}"
  boot_mode        = "legacy-bios"
}

build {
  sources = ["source.rightimage-disk.mirror"]

  provisioner "rightimage" {
    platform_ca_file   = var.platform_ca_file
    rightlink_version  = "stable"
    skip_package_cache = true
    mirror_root_file   = var.root_file
    mirrors = [
      "http://169.254.169.253:81/rightlink", # nobody is there
      "s3://packages/rightlink?endpoint=http://169.254.169.253:82&region=us-east-1",
    ]
  }
}
