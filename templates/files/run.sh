#!/bin/sh
mkdir -p /var/log/provision
exec /usr/local/bin/node-agent run >>/var/log/provision/node-agent.log 2>&1
