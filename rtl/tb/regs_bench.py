"""axi_lite_regs under a host that waits at random: every register, every strobe, any address.

The model is a table of what the host may write and of what the ports say, from hwsim.host.
"""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from hwsim import cosim
from hwsim.host import REGISTERS, Counter, counter_offset
from hwsim.isa import Unit

OKAY, SLVERR = 0, 2
WHOLE = 0xF
ADDRESS_MASK = (1 << 40) - 1
COUNTER_BITS = 48
STATUS = ("running_i", "done_i", "failed_i", "nonfinite_i")
INPUTS = {
    **dict.fromkeys(STATUS, 1),
    "error_code_i": 4,
    "error_unit_i": 2,
    "error_address_i": 40,
    "cycles_i": COUNTER_BITS,
    "counters_i": len(Unit) * len(Counter) * COUNTER_BITS,
}
"""Bits of the ports that the host reads through registers."""
WRITABLE = ("window_first", "window_last", *(f"stream_{unit.name.lower()}" for unit in Unit))


class Model:
    """What the registers hold."""

    def __init__(self):
        self.held = dict.fromkeys(WRITABLE, 0) | {"window_last": ADDRESS_MASK}
        self.pending = self.enable = self.starts = 0
        self.inputs = dict.fromkeys(INPUTS, 0)

    def write(self, address, data):
        offset, high = address & ~7, address >> 2 & 1
        name = next((name for name, item in REGISTERS.items() if item.offset == offset), "")
        if name in self.held:
            kept = self.held[name] & (0xFFFFFFFF << 32 * (1 - high))
            self.held[name] = (kept | data << 32 * high) & ADDRESS_MASK
        elif name == "control" and not high:
            self.starts += data & 1
        elif name == "interrupt" and not high:
            self.pending, self.enable = self.pending & ~data & 1, data >> 1 & 1

    def read(self, address):
        return self._values().get(address & ~7, 0) >> 32 * (address >> 2 & 1) & 0xFFFFFFFF

    def _values(self):
        seen = self.inputs
        named = {
            **self.held,
            "status": sum(seen[name] << bit for bit, name in enumerate(STATUS)),
            "interrupt": self.enable << 1 | self.pending,
            "error": seen["error_unit_i"] << 4 | seen["error_code_i"],
            "error_address": seen["error_address_i"],
            "cycles": seen["cycles_i"],
        }
        values = {REGISTERS[name].offset: value for name, value in named.items()}
        for number, (unit, counter) in enumerate((u, c) for u in Unit for c in Counter):
            count = seen["counters_i"] >> COUNTER_BITS * number & ((1 << COUNTER_BITS) - 1)
            values[counter_offset(unit, counter)] = count
        return values


def waits():
    """Cycles of a side that is quick, or not."""
    return random.choice((0, 0, 1, random.randint(2, 6)))


class Host:
    def __init__(self, dut):
        self.dut, self.starts = dut, 0

    async def reset(self):
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            getattr(self.dut, f"axil_{name}_i").value = 0
        for name in (*INPUTS, "ended_i"):
            getattr(self.dut, name).value = 0
        self.dut.rst_ni.value = 0
        await FallingEdge(self.dut.clk_i)
        self.dut.rst_ni.value = 1

    async def watch(self):
        """Count the cycles in which a run is asked for."""
        while True:
            await FallingEdge(self.dut.clk_i)
            self.starts += int(self.dut.start_o.value)

    async def send(self, channel, delay, **values):
        """One handshake; its values are gone the cycle after."""
        valid = getattr(self.dut, f"axil_{channel}valid_i")
        ready = getattr(self.dut, f"axil_{channel}ready_o")
        for _ in range(delay):
            await FallingEdge(self.dut.clk_i)
        valid.value = 1
        for name, value in values.items():
            getattr(self.dut, f"axil_{name}_i").value = value
        while not int(ready.value):
            await FallingEdge(self.dut.clk_i)
        await FallingEdge(self.dut.clk_i)
        valid.value = 0
        for name in values:
            port = getattr(self.dut, f"axil_{name}_i")
            port.value = random.getrandbits(len(port))

    async def take(self, channel, *outputs):
        """The outputs of a response, which must hold while the host is not ready."""
        valid = getattr(self.dut, f"axil_{channel}valid_o")
        ready = getattr(self.dut, f"axil_{channel}ready_i")
        while not int(valid.value):
            await FallingEdge(self.dut.clk_i)
        found = [int(getattr(self.dut, f"axil_{name}_o").value) for name in outputs]
        for _ in range(waits()):
            await FallingEdge(self.dut.clk_i)
            assert int(valid.value)
            assert found == [int(getattr(self.dut, f"axil_{name}_o").value) for name in outputs]
        ready.value = 1
        await FallingEdge(self.dut.clk_i)
        ready.value = 0
        return found

    async def write(self, address, data, strobe):
        address_goes = cocotb.start_soon(self.send("aw", waits(), awaddr=address))
        await self.send("w", waits(), wdata=data, wstrb=strobe)
        await address_goes
        return (await self.take("b", "bresp"))[0]

    async def read(self, address):
        await self.send("ar", waits(), araddr=address)
        return await self.take("r", "rdata", "rresp")


def any_address():
    """Mostly of a register, its byte address not aligned; or of nothing."""
    known = [item.offset for item in REGISTERS.values()]
    known += [counter_offset(unit, counter) for unit in Unit for counter in Counter]
    return random.choice((*known, random.getrandbits(12))) + random.randint(0, 7) & 0xFFF


async def change_inputs(dut, model):
    """New numbers at the ports, and now and then the end of a run."""
    for name, bits in INPUTS.items():
        model.inputs[name] = random.getrandbits(bits)
        getattr(dut, name).value = model.inputs[name]
    if random.random() < 0.2:
        dut.ended_i.value = 1
        await FallingEdge(dut.clk_i)
        dut.ended_i.value = 0
        model.pending = 1


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def accesses(dut):
    model, host = Model(), Host(dut)
    Clock(dut.clk_i, 10, "ns").start()
    await host.reset()
    cocotb.start_soon(host.watch())
    for _ in range(cosim.arguments()["accesses"]):
        address, data = any_address(), random.getrandbits(32)
        await change_inputs(dut, model)
        if random.random() < 0.5:
            strobe = random.choice((WHOLE, WHOLE, WHOLE, random.getrandbits(4)))
            response = await host.write(address, data, strobe)
            assert response == (OKAY if strobe == WHOLE else SLVERR)
            if strobe == WHOLE:
                model.write(address, data)
        else:
            assert await host.read(address) == [model.read(address), OKAY], hex(address)
        assert int(dut.irq_o.value) == model.pending & model.enable
        assert host.starts == model.starts
        assert int(dut.window_first_o.value) == model.held["window_first"]
        assert int(dut.window_last_o.value) == model.held["window_last"]
        streams = sum(model.held[f"stream_{u.name.lower()}"] << 40 * int(u) for u in Unit)
        assert int(dut.stream_o.value) == streams


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_run_that_ends_while_the_interrupt_is_cleared_is_not_lost(dut):
    host = Host(dut)
    Clock(dut.clk_i, 10, "ns").start()
    await host.reset()
    for clears in (0, 1):
        address = cocotb.start_soon(host.send("aw", 0, awaddr=REGISTERS["interrupt"].offset))
        await host.send("w", 0, wdata=2 | clears, wstrb=WHOLE)
        await address
        dut.ended_i.value = 1  # the cycle of the effect
        await FallingEdge(dut.clk_i)
        dut.ended_i.value = 0
        assert await host.take("b", "bresp") == [OKAY]
        assert int(dut.irq_o.value)
    assert await host.write(REGISTERS["interrupt"].offset, 3, WHOLE) == OKAY
    assert not int(dut.irq_o.value)
