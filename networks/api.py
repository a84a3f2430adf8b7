"""Networks, subnets and security groups over HTTP."""

from __future__ import annotations

from rest_framework import serializers

from clouds.api import InventorySerializer
from core.api import ReadViewSet, RefField
from core.api.fields import JsonField
from networks.models import Network, SecurityGroup, Subnet


class NetworkSerializer(InventorySerializer):
    """A network."""

    cidr = serializers.CharField(read_only=True)
    location = RefField()
    tags = serializers.DictField(child=serializers.CharField(), read_only=True)
    owned_by = RefField(source="owner")
    created_by = RefField()


class NetworkViewSet(ReadViewSet):
    """Networks of clouds."""

    queryset = Network.objects.select_related("cloud", "location", "owner", "created_by")
    serializer_class = NetworkSerializer


class SubnetSerializer(InventorySerializer):
    """A subnet."""

    network = RefField()
    cidr = serializers.CharField(read_only=True)
    location = RefField()
    free_addresses = serializers.IntegerField(read_only=True, allow_null=True)


class SubnetViewSet(ReadViewSet):
    """Parts of networks."""

    queryset = Subnet.objects.select_related("cloud", "network", "location")
    serializer_class = SubnetSerializer


class SecurityGroupSerializer(InventorySerializer):
    """A security group."""

    network = RefField()
    description = serializers.CharField(read_only=True)
    rules = serializers.ListField(child=JsonField(), read_only=True)


class SecurityGroupViewSet(ReadViewSet):
    """What may come in and go out."""

    queryset = SecurityGroup.objects.select_related("cloud", "network")
    serializer_class = SecurityGroupSerializer
