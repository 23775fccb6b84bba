"""What Vitrage loads, with this package in `[datasources] path`.

Beside the datasource there are files that Vitrage wants in places of its own: `datasources_values`
and `templates`. docs/openstack/vitrage.md says how to install all this.
"""
