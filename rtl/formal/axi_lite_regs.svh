// Proof of axi_lite_regs.sv: responses wait for the host and do not change, none comes unasked, and a
// start comes only from a write of control. Nothing is assumed of the host.
//

logic [7:0] addresses, datas, asked;
logic was_b, was_r;
logic [1:0] was_bresp;
logic [31:0] was_rdata;

initial assume (!rst_ni);

always_ff @(posedge clk_i or negedge rst_ni) begin
  if (!rst_ni) begin
    was_b     <= 1'b0;
    was_r     <= 1'b0;
    addresses <= 8'd0;
    datas     <= 8'd0;
    asked     <= 8'd0;
  end else begin
    was_b     <= axil_bvalid_o && !axil_bready_i;
    was_r     <= axil_rvalid_o && !axil_rready_i;
    was_bresp <= axil_bresp_o;
    was_rdata <= axil_rdata_o;
    // Taken and not answered.
    addresses <= addresses + {7'd0, axil_awvalid_i && axil_awready_o} -
        {7'd0, axil_bvalid_o && axil_bready_i};
    datas     <= datas + {7'd0, axil_wvalid_i && axil_wready_o} -
        {7'd0, axil_bvalid_o && axil_bready_i};
    asked     <= asked + {7'd0, axil_arvalid_i && axil_arready_o} -
        {7'd0, axil_rvalid_o && axil_rready_i};
  end
end

always_comb begin
  if (rst_ni) begin
    if (was_b) assert (axil_bvalid_o && axil_bresp_o == was_bresp);
    if (was_r) assert (axil_rvalid_o && axil_rdata_o == was_rdata);
    if (axil_bvalid_o) assert (addresses != 8'd0 && datas != 8'd0);
    if (axil_rvalid_o) assert (asked != 8'd0);
    if (start_o) assert (address_q && data_q && awaddr_q[11:2] == '0 && wdata_q[0] && whole_q);
    // What makes the induction go through.
    assert (addresses == {7'd0, address_q} + {7'd0, axil_bvalid_o});
    assert (datas == {7'd0, data_q} + {7'd0, axil_bvalid_o});
    assert (asked == {7'd0, axil_rvalid_o});
  end
end
