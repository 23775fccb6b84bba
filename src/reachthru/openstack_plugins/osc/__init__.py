"""`openstack guest ...`: commands of OpenStackClient that ask a controller's REST API."""
