# Provisions a disk and then plainly removes the hooks, as somebody might who
# does not know about "bootstrap uninstall".

variable "base_disk" { type = string }
variable "output_directory" { type = string }
variable "regions" { type = list(string) }

source "rightimage-disk" "nohooks" {
  iso_url          = var.base_disk
  iso_checksum     = "none"
  output_directory = var.output_directory
  regions          = var.regions
  ami_name         = "nohooks-{{ timestamp }}"
  boot_mode        = "legacy-bios"
}

build {
  sources = ["source.rightimage-disk.nohooks"]

  provisioner "rightimage" {
    cloud = "ec2"
  }
  provisioner "shell" {
    inline = [
      "ls /etc/systemd/system/rightimage.service",
      "rm -f /etc/systemd/system/right*.service /etc/init.d/right*",
    ]
  }
}
