# SPDX-License-Identifier: Apache-2.0
"""What OVS can do to a packet, one after the other, for the soak: flows of br0, and ways between
brx and bry."""

BR0 = {
    "normal": ["actions=normal"],
    "several": [
        "in_port=1 actions=output:2,output:3,output:4",
        "in_port=2 actions=output:3,output:1,output:4",
        "in_port=3 actions=output:1,in_port,output:2",
        "in_port=4 actions=output:1,output:LOCAL",
    ],
    "change": [
        "priority=1,ip actions=set_field:02:00:00:00:00:77->eth_src,dec_ttl,normal",
        "priority=0 actions=normal",
    ],
    "truncate": [
        "in_port=1 actions=output(port=3,max_len=100),output:2,output(port=4,max_len=14)",
        "in_port=2 actions=output(port=4,max_len=1000),output:1",
    ],
    "controller": [
        "priority=1,udp,tp_dst=9 actions=controller(max_len=128),normal",
        "priority=1,icmp actions=normal,controller",
        "priority=0 actions=normal",
    ],
    "meter": ["priority=1,icmp actions=normal", "priority=0 actions=meter:1,normal"],
    "drop": ["priority=1,udp actions=drop", "priority=0 actions=normal"],
    "conntrack": [
        "table=0,priority=1,ip actions=ct(commit,zone=1,table=1)",
        "table=0,priority=0 actions=normal",
        "table=1 actions=normal",
    ],
    "nat": [
        "table=0,priority=1,in_port=1,ip actions=ct(commit,zone=2,nat(src=10.90.0.200),table=1)",
        "table=0,priority=1,in_port=2,ip actions=ct(zone=2,nat,table=1)",
        "table=0,priority=0 actions=normal",
        "table=1 actions=normal",
    ],
    "group": ["priority=1,in_port=1,ip actions=group:1", "priority=0 actions=normal"],
    "mpls": [
        "table=0,priority=1,ip actions=push_mpls:0x8847,set_field:76->mpls_label,"
        "push_mpls:0x8847,set_field:77->mpls_label,"
        "pop_mpls:0x8847,pop_mpls:0x0800,goto_table:1",
        "table=0,priority=0 actions=normal",
        "table=1 actions=normal",
    ],
    "clone": [
        "priority=1,in_port=1 "
        "actions=clone(push_vlan:0x8100,set_field:4196->vlan_vid,output:3),"
        "clone(set_field:02:00:00:00:00:04->eth_dst,output:4),normal",
        "priority=0 actions=normal",
    ],
    # With a mirror to p4 besides.
    "mirror": ["actions=normal"],
}

METER = "meter=1 pktps burst stats bands=type=drop rate=3000 burst_size=100"
GROUP = (
    "group_id=1,type=select,selection_method=dp_hash,"
    "bucket=bucket_id=1,actions=output:2,bucket=bucket_id=2,actions=output:2,"
    "bucket=bucket_id=3,actions=output:3,output:2,output:4"
)

# Interfaces of these types are between brx and bry.
TUNNELS = ("vxlan", "geneve", "gre")

# What is pushed on the way from one to the other, and the flows that pop it.
HEADERS = {
    "vlan": (
        "mod_vlan_vid:100",
        ["table=0,in_port=3,dl_vlan=100 actions=strip_vlan,output:1"],
    ),
    "qinq": (
        "push_vlan:0x8100,set_field:4396->vlan_vid,push_vlan:0x88a8,set_field:4296->vlan_vid",
        [
            "table=0,in_port=3,dl_vlan=200 actions=pop_vlan,resubmit(,1)",
            "table=1,dl_vlan=300 actions=pop_vlan,output:1",
        ],
    ),
    "nsh": (
        "encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,encap(ethernet),"
        "set_field:02:00:00:00:00:01->eth_dst",
        ["table=0,in_port=3,dl_type=0x894f actions=decap(),decap(),output:1"],
    ),
}

WAYS = ("vxlan", "vlan", "geneve", "qinq", "gre", "nsh")
