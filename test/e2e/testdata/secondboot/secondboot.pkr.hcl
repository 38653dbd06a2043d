# A preinstalled image that says on its console when multi-user.target was
# reached; and the same image without the boot hooks.

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
variable "unit" { type = string }
variable "name" { type = string }
variable "without_hooks" { type = bool }

source "rightimage-disk" "secondboot" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = var.output_directory
  regions          = [var.region]
  ami_name         = "secondboot-${var.name}-{{ timestamp }}"
  boot_mode        = "legacy-bios"
}

build {
  sources = ["source.rightimage-disk.secondboot"]

  provisioner "file" {
    source      = var.unit
    destination = "/etc/systemd/system/tell-boot.service"
  }
  provisioner "rightimage" {
    mode             = "preinstalled"
    platform_ca_file = var.platform_ca_file
  }
  # Without the hooks nobody makes host keys, and an sshd that can't start costs
  # less than one that does.
  provisioner "shell" {
    inline = [
      "mkdir -p /etc/systemd/system/sysinit.target.wants && ln -s ../tell-boot.service /etc/systemd/system/sysinit.target.wants/",
      var.without_hooks ? "rm /etc/systemd/system/right*.service && find /etc/systemd/system -xtype l -name 'right*' -delete && ssh-keygen -q -A" : "ls /etc/systemd/system/rightlink.service",
    ]
  }
}
