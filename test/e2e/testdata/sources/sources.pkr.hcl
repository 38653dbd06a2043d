# An image that gets its RightLink from where the test says.

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
variable "name" { type = string }
variable "rightlink_version" { type = string }
variable "mirrors" { type = list(string) }
variable "package_files" { type = list(string) }

source "rightimage-disk" "sources" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = var.output_directory
  regions          = [var.region]
  ami_name         = "sources-${var.name}-{{ timestamp }}"
  boot_mode        = "legacy-bios"
}

build {
  sources = ["source.rightimage-disk.sources"]

  provisioner "rightimage" {
    platform_ca_file   = var.platform_ca_file
    rightlink_version  = var.rightlink_version
    skip_package_cache = length(var.package_files) == 0
    package_files      = var.package_files
    mirror_root_file   = length(var.mirrors) == 0 ? "" : var.root_file
    mirrors            = var.mirrors
  }
}
