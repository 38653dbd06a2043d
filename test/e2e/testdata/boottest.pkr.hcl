# An image for everybody whose init ends at once: the kernel panics.

packer {
  required_plugins {
    rightimage = {
      source  = "github.com/rightimage/rightimage"
      version = ">= 0.1.0"
    }
  }
}

variable "disk" {
  type = string
}

variable "output" {
  type = string
}

variable "region" {
  type = string
}

source "rightimage-disk" "broken" {
  iso_url          = var.disk
  iso_checksum     = "none"
  output_directory = "${var.output}/disk"
  regions          = [var.region]
  ami_name         = "broken"
  boot_mode        = "legacy-bios"
  ami_groups       = ["all"]
  tags             = { Purpose = "broken" }
  aws_polling {
    delay_seconds = 1
  }
}

build {
  sources = ["source.rightimage-disk.broken"]
  provisioner "shell" {
    inline = [
      "rm /sbin/init",
      "printf '#!/bin/sh\\necho this is no init\\nexit 1\\n' > /sbin/init",
      "chmod 755 /sbin/init",
    ]
  }
}
