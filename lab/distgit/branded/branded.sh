#!/bin/sh
echo "This is Upstream Linux"
cat /usr/share/branded/banner
