"""A flavor's extra specs are checked by Nova's own API: its 200, its 400."""

import pytest

pytestmark = pytest.mark.xdist_group("nova_plugins")  # one Nova for all

NAMES = ("ha:guest_heartbeat", "ha:server_group_messaging")


@pytest.fixture(scope="module")
def flavor(cloud):
    return cloud.flavor()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["true", "false", "True", "1", "no", "on"])
def test_a_boolean_as_nova_writes_them_is_taken(cloud, flavor, name, value):
    answer = cloud.set_extra_specs(flavor, {name: value})
    assert answer.status_code == 200
    assert answer.json() == {"extra_specs": {name: value}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["maybe", "", "2", "truee"])
def test_another_value_is_novas_400(cloud, flavor, name, value):
    answer = cloud.set_extra_specs(flavor, {name: value})
    assert answer.status_code == 400
    said = answer.json()["badRequest"]["message"]
    assert said == f"Validation failed; '{value}' is not a valid boolean-like value."


def test_so_it_is_where_one_value_is_changed(cloud, flavor):
    path = f"/flavors/{flavor.id}/os-extra_specs/ha:guest_heartbeat"
    cloud.set_extra_specs(flavor, {"ha:guest_heartbeat": "true"})
    body = {"ha:guest_heartbeat": "perhaps"}
    assert cloud.compute.put(path, json=body, microversion="2.86").status_code == 400
    kept = cloud.compute.get(path, microversion="2.86").json()
    assert kept == {"ha:guest_heartbeat": "true"}


def test_a_name_that_is_not_ours_in_our_namespace_is_novas_400(cloud, flavor):
    answer = cloud.set_extra_specs(flavor, {"ha:guest_hartbeat": "true"})
    assert answer.status_code == 400
    assert "'ha:guest_hartbeat' does not appear to be a valid" in answer.text


def test_the_older_names_are_left_to_whom_they_belong_to(cloud, flavor):
    specs = {"sw:wrs:guest:heartbeat": "whatever", "sw:wrs:something": "else"}
    assert cloud.set_extra_specs(flavor, specs).status_code == 200


def test_below_microversion_2_86_nothing_is_checked(cloud, flavor):
    specs = {"ha:guest_heartbeat": "maybe", "ha:guest_hartbeat": "true"}
    assert cloud.set_extra_specs(flavor, specs, microversion="2.85").status_code == 200
